/**
 * The search for the quickest schedule of one piece of work.
 *
 * Spaces are long and a kernel may take seconds to compile, so a budget of time bounds what is tried. First every
 * candidate runs once, the likeliest first: what an earlier table knows, so that a short search loses nothing; one of each
 * form that the family has, the first in its space; then those that lie fewest steps from the best so far. Then the better
 * half runs again, and again the better half of those, until few are left, which run by turns with the default. A schedule
 * wins only if it beats the default by a margin, in the median and at its best: within it, what was measured is noise.
 */
import { stepsApart } from '../../schedule/apart.ts';
import { scheduleText } from '../../schedule/wanted.ts';

/** What a schedule is measured by. Times are milliseconds. */
export interface Trial<R> {
  /** Makes it ready, runs it once and checks the result; a text says why it is out. */
  prepare(): Promise<{ readonly ready: R } | { readonly failed: string } | { readonly wrong: string }>;
}
export interface Bench<S, R> {
  trial(schedule: S): Trial<R>;
  time(ready: R): Promise<number>;
  /** True once the time for trying new schedules, or all time (`false`), is spent. */
  spent(trying: boolean): boolean;
  onTried?(tried: number, of: number): void;
}
export interface Found<S> {
  readonly schedule: S;
  readonly ms: number;
  readonly usualMs: number;
  readonly tried: number;
  readonly space: number;
  readonly failed: readonly { readonly schedule: S; readonly why: string }[];
  /** Schedules that computed something else than the default: bugs. */
  readonly wrong: readonly { readonly schedule: S; readonly why: string }[];
}

/** A schedule must be quicker than the default by this much of its time. */
export const margin = 0.05;
/** So many meet in the last rounds, and so many rounds there are. */
const finalists = 4, finalRounds = 9;

const median = (xs: readonly number[]): number => { const s = [...xs].sort((a, b) => a - b), m = s.length >> 1; return s.length % 2 ? s[m]! : (s[m - 1]! + s[m]!) / 2; };

const formOf = (s: unknown): unknown => (s as { readonly form?: unknown }).form;

/** `known`: schedules of the space that are tried before all others. @throws Error when the default itself cannot run */
export async function search<S, R>(usual: S, space: readonly S[], bench: Bench<S, R>, known: readonly S[] = []): Promise<Found<S>> {
  const first = await bench.trial(usual).prepare();
  if (!('ready' in first)) throw new Error('failed' in first ? first.failed : first.wrong);
  const own = first.ready, usualText = scheduleText(usual);
  const queue = space.filter((s) => scheduleText(s) !== usualText), failed: Found<S>['failed'][number][] = [], wrong: Found<S>['wrong'][number][] = [];
  interface Runner { readonly schedule: S; readonly ready: R; ratios: number[] }
  const forms = new Set([formOf(usual)]), early = new Set(known.map(scheduleText));
  let alive: Runner[] = [], best: { readonly schedule: S; readonly ratio: number } = { schedule: usual, ratio: 1 }, tried = 0;

  let base = await bench.time(own);
  while (queue.length && !bench.spent(true)) {
    // The machine's own pace drifts.
    if (tried % 4 === 3) base = await bench.time(own);
    const likely = [queue.findIndex((s) => early.has(scheduleText(s))), queue.findIndex((s) => !forms.has(formOf(s)))].find((at) => at >= 0);
    const next = likely ?? queue.reduce((at, s, i) => (stepsApart(s, best.schedule) < stepsApart(queue[at]!, best.schedule) ? i : at), 0);
    const [schedule] = queue.splice(next, 1) as [S];
    forms.add(formOf(schedule));
    const made = await bench.trial(schedule).prepare();
    tried++;
    bench.onTried?.(tried, queue.length + tried);
    if ('failed' in made) { failed.push({ schedule, why: made.failed }); continue; }
    if ('wrong' in made) { wrong.push({ schedule, why: made.wrong }); continue; }
    const ratio = (await bench.time(made.ready)) / base;
    alive.push({ schedule, ready: made.ready, ratios: [ratio] });
    if (ratio < best.ratio) best = { schedule, ratio };
  }

  if (!alive.length) return { schedule: usual, ms: base, usualMs: base, tried, space: space.length, failed, wrong };
  const quickest = (): Runner[] => [...alive].sort((a, b) => median(a.ratios) - median(b.ratios));
  alive = quickest().slice(0, Math.max(finalists, Math.ceil(alive.length / 4)));
  while (alive.length > finalists && !bench.spent(false)) {
    const now = await bench.time(own);
    for (const r of alive) r.ratios.push((await bench.time(r.ready)) / now);
    alive = quickest().slice(0, Math.max(finalists, alive.length >> 1));
  }
  alive = quickest().slice(0, finalists);
  const rounds: number[] = [], times = alive.map((): number[] => []);
  for (let i = 0; i < finalRounds && (i < 3 || !bench.spent(false)); i++) {
    rounds.push(await bench.time(own));
    for (const [k, r] of alive.entries()) times[k]!.push(await bench.time(r.ready));
  }
  // Round by round, so that what else the machine did falls on both; and no luck of single rounds: the fastest must be faster too.
  const usualMs = median(rounds), ms = times.map(median), ratios = times.map((own) => median(own.map((t, i) => t / rounds[i]!)));
  const k = ratios.indexOf(Math.min(...ratios)), won = k >= 0 && Math.max(ratios[k]!, ms[k]! / usualMs, Math.min(...times[k]!) / Math.min(...rounds)) < 1 - margin;
  return { schedule: won ? alive[k]!.schedule : usual, ms: won ? ms[k]! : usualMs, usualMs, tried, space: space.length, failed, wrong };
}
