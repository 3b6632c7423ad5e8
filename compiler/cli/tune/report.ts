/** What was measured, for people and for the table. */
import type { FoundAdapter } from '../../../runtime/node-adapter.ts';
import type { ScheduleTable, TableEntry } from '../../schedule/table.ts';
import { scheduleText, wantedText } from '../../schedule/wanted.ts';
import { version } from '../../version.ts';
import { milliseconds, table } from '../output.ts';
import { margin } from './search.ts';
import type { Tuned } from './tuner.ts';

const round = (ms: number): number => Number(ms.toPrecision(4));

/** Entries for what was measured, also where the default won: it is known there, and need not be guessed from a neighbour. */
export const entriesOf = (tuned: readonly Tuned[]): TableEntry[] => tuned
  .flatMap(({ work: { made: { wanted } }, found }): TableEntry[] => (found ? [{
    family: wanted.family, form: wanted.form, sizes: { ...wanted.sizes }, schedule: JSON.parse(JSON.stringify(found.schedule)) as TableEntry['schedule'], ms: round(found.ms), usualMs: round(found.usualMs),
  }] : []))
  .sort((a, b) => (wantedText(a) < wantedText(b) ? -1 : 1));

export const notMeasured = (tuned: readonly Tuned[]): NonNullable<ScheduleTable['notMeasured']> => tuned.flatMap(({ work, why }) => (why === undefined ? [] : [{ work: work.text, why }]));

/** Fields in which a schedule is another than the default; all of them where it has another form. */
export function changes(usual: object, best: object): string {
  const from = usual as Record<string, unknown>, to = best as Record<string, unknown>, show = (x: unknown): string => (Array.isArray(x) ? x.join('×') : String(x));
  if (from['form'] !== to['form']) return `${show(from['form'])} → ${show(to['form'])}: ${Object.keys(to).filter((k) => k !== 'family' && k !== 'form').map((k) => `${k} ${show(to[k])}`).join(', ')}`;
  return [...new Set([...Object.keys(from), ...Object.keys(to)])].filter((k) => scheduleText(from[k] ?? null) !== scheduleText(to[k] ?? null)).map((k) => `${k} ${show(from[k])} → ${show(to[k])}`).join(', ') || 'as it is';
}

export interface ReportInput { readonly adapter: FoundAdapter; readonly tuned: readonly Tuned[]; readonly visual: number; readonly text: number; readonly budget: number; readonly output?: string }
export function report({ adapter, tuned, visual, text, budget, output }: ReportInput): string {
  const done = tuned.flatMap((t) => (t.found ? [{ ...t, found: t.found }] : [])).sort((a, b) => b.work.times * b.found.usualMs - a.work.times * a.found.usualMs);
  const all = done.reduce((s, t) => s + t.work.times * t.found.usualMs, 0), best = done.reduce((s, t) => s + t.work.times * t.found.ms, 0);
  const rows = done.map(({ work, usual, found }) => [`${work.text}`, work.entry, String(work.times), milliseconds(found.usualMs), milliseconds(found.ms), `${(found.usualMs / found.ms).toFixed(2)}×`, `${found.tried} of ${found.space}`, changes(usual, found.schedule)]);
  const bad = done.flatMap(({ work, found }) => [...found.wrong.map((w) => `WRONG: ${scheduleText(w.schedule)} for ${work.text}: ${w.why}. This is a fault of eemllm: please report it.`), ...found.failed.map((f) => `failed: ${scheduleText(f.schedule)} for ${work.text}: ${f.why}`)]);
  return [
    `${adapter.name} (${adapter.kind}), eemllm ${version}; ${visual} visual and ${text} text tokens, budget ${budget} s; toggles ${adapter.toggles.join(', ')}`, '',
    table(['work', 'step', 'dispatches', 'default', 'best', 'quicker', 'tried', 'default → best'], rows), '',
    ...(all ? [`All of them together: ${milliseconds(all)} by the defaults, ${milliseconds(best)} by the best, ${(all / best).toFixed(2)}× quicker. A schedule wins where its median is ${(margin * 100).toFixed(0)} % below the default's.`] : []),
    ...tuned.flatMap((t) => (t.why === undefined ? [] : [`Not measured: ${t.work.text}. ${t.why}`])), ...bad,
    ...(adapter.software ? ['This is a software adapter: only ratios mean something.'] : []),
    ...(output === undefined ? ['With -o FILE.json this becomes a table for eemllm compile --schedules.'] : [`Written to ${output}; use it with eemllm compile --schedules ${output}.`]),
  ].join('\n') + '\n';
}
