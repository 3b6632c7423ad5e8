import { SingleBar } from 'cli-progress';
import { si } from './output.ts';

export interface Progress { update(done: number, total: number): void; stop(): void }

/** Rates are taken over so many milliseconds, so that a pause shows and a stutter does not. */
const memory = 5000;

/** Work done per second lately. */
export class Rate {
  private readonly seen: { readonly at: number; readonly done: number }[] = [];

  /** @param at milliseconds on any clock */
  note(done: number, at: number): void {
    this.seen.push({ at, done });
    while (this.seen.length > 2 && this.seen[1]!.at < at - memory) this.seen.shift();
  }
  get perSecond(): number {
    const first = this.seen[0], last = this.seen.at(-1);
    return first && last && last.at > first.at ? (1000 * (last.done - first.done)) / (last.at - first.at) : 0;
  }
}

/** 75 → `1:15`; `?` where there is no telling. */
export function timeText(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const n = Math.ceil(seconds), two = (x: number): string => String(x % 60).padStart(2, '0'), minutes = Math.floor(n / 60);
  return minutes < 60 ? `${minutes}:${two(n)}` : `${Math.floor(minutes / 60)}:${two(minutes)}:${two(n)}`;
}

/** A bar on standard error for long work; nothing where that is no terminal, or the work is quickly done. Work is bytes, shown with their rate, unless `amount` says otherwise. */
export function progressBar(what: string, amount?: (n: number) => string): Progress {
  if (!process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
  const begin = performance.now(), rate = new Rate();
  let bar: SingleBar | undefined;
  return {
    update: (done, total) => {
      const now = performance.now();
      rate.note(done, now);
      if (!bar && now - begin < 300) return;
      const { perSecond } = rate, text = amount ?? ((n) => si(n, 'B')), shown = { done: text(done), size: text(total), rate: `${si(Math.round(perSecond), 'B')}/s`, left: timeText((total - done) / perSecond) };
      if (bar) { bar.update(done, shown); return; }
      bar = new SingleBar({ format: `${what} {bar} {percentage}%, {done} of {size}, ${amount ? '' : '{rate}, '}{left} left`, clearOnComplete: true, hideCursor: true, stream: process.stderr });
      bar.start(total, done, shown);
    },
    stop: () => bar?.stop(),
  };
}
