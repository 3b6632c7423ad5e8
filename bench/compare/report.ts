/** What a run of ../peers.ts found, as a table and as JSON. */
import { cpus } from 'node:os';
import { milliseconds, table } from '../../compiler/cli/output.ts';
import type { Case } from './cases.ts';
import type { Opened } from './runner.ts';

/** One way in which a peer expressed the case. */
export interface Tried { readonly variant: string; readonly first: number; readonly ms: number; readonly error: number; readonly problem?: string }
/** A peer's ways, the one that counts, and its times in the rounds. */
export interface Entry { readonly peer: string; readonly tried: readonly Tried[]; variant: string | undefined; readonly times: number[]; readonly repeats: number }
/** A case: ours, then the peers. */
export interface Result { readonly case: Case; readonly flops: number; readonly entries: readonly Entry[] }
export interface Run {
  readonly adapter: Opened;
  readonly opened: ReadonlyMap<string, Opened>;
  readonly rounds: number; readonly sizes: string; readonly command: string;
  readonly results: readonly Result[];
}

/** What a result may be off, relative to its largest value. Sums in f32 stay below 1e-5; in f16, an f32 sum below 2e-3. */
const tolerance = { f32: 1e-4, f16: 1e-2 } as const;
export const isRight = (c: Case, t: Tried): boolean => !t.problem && t.error <= tolerance[c.precision];
const median = (xs: readonly number[]): number => [...xs].sort((a, b) => a - b)[xs.length >> 1]!;
/** How much longer a peer takes than ours: the median of the ratios within a round, in which other load falls on both. */
const ratioOf = (e: Entry, ours: Entry): number => median(e.times.map((t, i) => t / ours.times[i]!));
const chosen = (e: Entry): Tried | undefined => (e.times.length ? e.tried.find((t) => t.variant === e.variant) : undefined);

function row({ case: c, entries }: Result): string[] {
  const [ours, ...rest] = entries as [Entry, ...Entry[]];
  const cell = (e: Entry): string => {
    const t = chosen(e);
    if (!t) return e.tried.length ? 'failed' : '—';
    const text = `${milliseconds(median(e.times))}${e === ours ? '' : `, ${ratioOf(e, ours).toFixed(2)}×`}`;
    return isRight(c, t) ? text : `[${text}] wrong by ${t.error.toExponential(0)}`;
  };
  const valid = (e: Entry): boolean => { const t = chosen(e); return !!t && isRight(c, t); };
  const best = valid(ours) ? rest.filter(valid).sort((a, b) => ratioOf(a, ours) - ratioOf(b, ours))[0] : undefined;
  return [c.name, ...entries.map(cell), best ? `${ratioOf(best, ours).toFixed(2)}× (${best.peer})` : '—'];
}

/** Ways that failed, and faster ones that computed something else. */
const notesOf = ({ case: c, entries }: Result): string[] => entries.slice(1).flatMap((e) => e.tried.flatMap((t) =>
  t.problem ? [`${c.name}: ${e.peer}, ${t.variant}: ${t.problem.split('\n')[0]}`]
  : t.variant !== e.variant && !isRight(c, t) ? [`${c.name}: ${e.peer}, ${t.variant}: wrong by ${t.error.toExponential(0)} in ${milliseconds(t.ms)}, so ${e.variant ?? 'nothing'} counts`] : []));

/** One line: how a case went. */
export const resultLine = (r: Result): string => { const [name, ours, ...rest] = row(r); return `${name}: ${ours}; ${r.entries.slice(1).map((e, i) => `${e.peer} ${rest[i]}`).join('; ')}`; };

export function runText({ adapter, opened, rounds, results }: Run): string {
  const notes = results.flatMap(notesOf);
  return [
    `${adapter.adapter} (${adapter.kind}), Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, medians of ${rounds} rounds; toggles ${adapter.toggles?.join(', ')}`,
    ...(adapter.software ? ['A software adapter: compare ratios, not times. Who has no GPU is better served by a CPU runtime.'] : []),
    'A ratio above 1 says that ours is so many times as fast. Results in brackets are wrong and do not count.', '',
    table(['case', ...opened.keys(), 'ours against the best peer'], results.map(row)), '',
    ...[...opened.values()].map((o) => `${Object.entries(o.versions).map(([n, v]) => `${n} ${v}`).join(', ')}: ${o.notes}.`),
    ...results.map(({ case: c, entries }) => `${c.name}: ${entries.slice(1).filter((e) => e.variant !== undefined).map((e) => `${e.peer} by ${e.variant}`).join('; ')}`),
    ...(notes.length ? ['', ...notes] : []),
  ].join('\n');
}

export const runJson = ({ adapter, opened, rounds, sizes, command, results }: Run): string => `${JSON.stringify({
  adapter: { name: adapter.adapter, kind: adapter.kind, toggles: adapter.toggles }, node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, rounds, sizes, command,
  runners: Object.fromEntries(opened), tolerance,
  results: results.map((r) => ({ ...r, entries: r.entries.map((e) => ({ ...e, ms: e.times.length ? median(e.times) : null, ratio: e.times.length ? ratioOf(e, r.entries[0]!) : null })) })),
}, null, 1)}\n`;
