import { SingleBar } from 'cli-progress';
import { si } from './output.ts';

export interface Progress { update(done: number, total: number): void; stop(): void }

/** A bar on standard error for long work; nothing where that is no terminal, or the work is quickly done. Work is bytes, unless `amount` says otherwise. */
export function progressBar(what: string, amount: (total: number) => string = (total) => si(total, 'B')): Progress {
  if (!process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
  const begin = performance.now();
  let bar: SingleBar | undefined;
  return {
    update: (done, total) => {
      if (!bar && performance.now() - begin < 300) return;
      if (!bar) {
        bar = new SingleBar({ format: `${what} {bar} {percentage}% of {size}, {eta_formatted} left`, clearOnComplete: true, hideCursor: true, stream: process.stderr });
        bar.start(total, done, { size: amount(total) });
      } else bar.update(done, { size: amount(total) });
    },
    stop: () => bar?.stop(),
  };
}
