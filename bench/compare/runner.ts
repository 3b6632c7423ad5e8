/** A runner computes cases in a process of its own, and does nothing while others run; the parent (../peers.ts) says when. */
import type { Case } from './cases.ts';

export interface Opened {
  readonly versions: Readonly<Record<string, string>>;
  /** What the adapter is called, as far as the runner can tell. */
  readonly adapter?: string;
  readonly kind?: string;
  readonly software?: boolean;
  readonly toggles?: readonly string[];
  readonly half: boolean;
  /** Rows of layers come back as `projected` has them. */
  readonly projects?: boolean;
  /** How times end, and what is on the device beforehand. */
  readonly notes: string;
}

export interface Ready {
  /** What has to be done before `run`, outside of its time. */
  begin?(): Promise<void>;
  /** Runs the case so often, one after the other, and resolves once the device has finished. */
  run(times: number): Promise<void>;
  /** Rows of the result, after a run. */
  rows(rows: readonly number[]): Promise<ArrayLike<number>>;
  release(): void | Promise<void>;
}

export interface Runner {
  open(): Promise<Opened>;
  /** The ways in which it can express a case, named by their ops; the parent takes the fastest that is right. None: it cannot. */
  variants(c: Case): readonly string[];
  prepare(c: Case, variant: string): Promise<Ready>;
}

export type Request =
  | { readonly do: 'open' } | { readonly do: 'variants'; readonly case: Case } | { readonly do: 'prepare'; readonly case: Case; readonly variant: string }
  | { readonly do: 'run'; readonly variant: string; readonly times: number } | { readonly do: 'rows'; readonly variant: string; readonly rows: readonly number[] } | { readonly do: 'release'; readonly variant: string };
export type Reply<R extends Request> = { open: Opened; variants: readonly string[]; prepare: null; run: number; rows: Float64Array; release: null }[R['do']];
export type Answer = { readonly value: unknown } | { readonly error: string };

/** Answers the parent's requests, one at a time. The process ends when the parent lets go of it. */
export function serve(runner: Runner): void {
  const ready = new Map<string, Ready>();
  const answer = async (r: Request): Promise<unknown> => {
    if (r.do === 'open') return runner.open();
    if (r.do === 'variants') return runner.variants(r.case);
    if (r.do === 'prepare') { ready.set(r.variant, await runner.prepare(r.case, r.variant)); return null; }
    const one = ready.get(r.variant);
    if (!one) throw new Error(`'${r.variant}' has not been prepared.`);
    if (r.do === 'rows') return Float64Array.from(await one.rows(r.rows));
    if (r.do === 'release') { ready.delete(r.variant); await one.release(); return null; }
    await one.begin?.();
    const start = performance.now();
    await one.run(r.times);
    return (performance.now() - start) / r.times;
  };
  process.on('message', (r: Request) => {
    answer(r).then((value) => process.send!({ value }), (e: unknown) => process.send!({ error: e instanceof Error ? e.message : String(e) }));
  });
  // A device that is held keeps Node alive.
  process.on('disconnect', () => process.exit(0));
}
