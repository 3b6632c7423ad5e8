/**
 * Ours beside what a user would pick instead, on one adapter in one run: `npm run bench:peers -- [--adapter KIND] [--rounds N]
 * [--sizes tiny|small|full] [--only TEXT]… [--peers NAME]… [--json FILE]`.
 *
 * Every runner has a process of its own and waits idle while another runs; they take turns, so that whatever else the
 * machine does falls on all alike. Of several ways to express a case (compare/runner.ts) each peer gets its fastest that is
 * right. Results are compared with float64 (compare/reference.ts); a wrong one is shown in brackets and never counts.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { milliseconds, table } from '../compiler/cli/output.ts';
import type { Case } from './compare/cases.ts';
import { casesFor, checkedRows, flopsOf } from './compare/cases.ts';
import { PeerProcess, driverVariable, installCommand, isInstalled, others, own } from './compare/peers.ts';
import { errorOf, projected, reference } from './compare/reference.ts';
import type { Opened } from './compare/runner.ts';

const { values } = parseArgs({ options: {
  adapter: { type: 'string' }, rounds: { type: 'string', default: '3' }, sizes: { type: 'string' }, only: { type: 'string', multiple: true }, peers: { type: 'string', multiple: true }, json: { type: 'string' },
} });
const rounds = Number(values.rounds), sizes = values.sizes as 'tiny' | 'small' | 'full' | undefined;
if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError(`--rounds is ${values.rounds}, and an integer of at least 1 was expected.`);
if (sizes && !['tiny', 'small', 'full'].includes(sizes)) throw new RangeError(`--sizes is ${values.sizes}, and one of tiny, small, full was expected.`);
/** What a result may be off, relative to its largest value. Sums in f32 stay below 1e-5; in f16, an f32 sum below 2e-3. */
const tolerance = { f32: 1e-4, f16: 1e-2 } as const;
const note = (what: string): void => { process.stderr.write(`${what} …\n`); };
const median = (xs: readonly number[]): number => [...xs].sort((a, b) => a - b)[xs.length >> 1]!;
const lower = (texts: readonly string[] | undefined): string[] => (texts ?? []).map((x) => x.toLowerCase());

const wantedPeers = lower(values.peers), asked = others.filter((p) => !wantedPeers.length || wantedPeers.some((w) => p.name.toLowerCase().includes(w)));
const missing = asked.filter((p) => !isInstalled(p));
if (missing.length) {
  console.log(`The peers ${missing.map((p) => p.name).join(', ')} are not installed: run \`${installCommand}\` and then this again.`);
  process.exit(1);
}

// Ours says which adapter it is; then all are pointed at that driver.
const scout = new PeerProcess(own, values.adapter ? { EEMLLM_ADAPTER: values.adapter } : {}), adapter = await scout.ask({ do: 'open' });
scout.close();
const environment = await driverVariable(adapter.kind!), processes = [own, ...asked].map((p) => new PeerProcess(p, environment)), opened = new Map<string, Opened>();
for (const p of processes) {
  note(`starting ${p.info.name}`);
  opened.set(p.info.name, await p.ask({ do: 'open' }));
}

const only = lower(values.only), choice = { software: adapter.software!, sizes: sizes ?? (adapter.software ? 'small' : 'full'), half: adapter.half } as const;
const cases = casesFor(choice).filter((c) => !only.length || only.some((o) => c.name.toLowerCase().includes(o)));
if (!cases.length) throw new RangeError(`--only ${only.join(' --only ')} leaves no case. They are: ${casesFor(choice).map((c) => c.name).join('; ')}.`);

/** One way in which a peer expressed the case. */
interface Tried { readonly variant: string; readonly first: number; readonly ms: number; readonly error: number; readonly problem?: string }
interface Entry { readonly peer: string; readonly tried: readonly Tried[]; variant: string | undefined; readonly times: number[]; readonly repeats: number }
interface Result { readonly case: Case; readonly flops: number; readonly entries: readonly Entry[] }
const right = (c: Case, t: Tried): boolean => !t.problem && t.error <= tolerance[c.precision];

/** Prepares every variant, keeps the fastest that is right (or, if none is, the fastest), and lets go of the others. */
async function begin(p: PeerProcess, c: Case, expected: Float64Array): Promise<Entry> {
  const tried: Tried[] = [];
  let best: Tried | undefined;
  const prefer = (a: Tried, b: Tried): boolean => (right(c, a) === right(c, b) ? a.ms < b.ms : right(c, a));
  for (const variant of await p.ask({ do: 'variants', case: c })) {
    const { started } = p;
    try {
      await p.ask({ do: 'prepare', case: c, variant });
      const first = await p.ask({ do: 'run', variant, times: 1 }), ms = Math.min(await p.ask({ do: 'run', variant, times: 1 }), await p.ask({ do: 'run', variant, times: 1 }));
      const one: Tried = { variant, first, ms, error: errorOf(await p.ask({ do: 'rows', variant, rows: checkedRows(c) }), expected) };
      tried.push(one);
      const loser = !best || prefer(one, best) ? best : one;
      if (loser !== one) best = one;
      if (loser) await p.ask({ do: 'release', variant: loser.variant });
    } catch (e) {
      tried.push({ variant, first: NaN, ms: NaN, error: Infinity, problem: e instanceof Error ? e.message : String(e) });
      await p.ask({ do: 'release', variant }).catch(() => undefined);
      if (p.started > started) best = undefined;
    }
  }
  const target = adapter.software ? 200 : 50;
  return { peer: p.info.name, tried, variant: best?.variant, times: [], repeats: best ? Math.max(1, Math.min(100, Math.round(target / best.ms))) : 1 };
}

const results: Result[] = [];
for (const c of cases) {
  note(c.name);
  const expected = reference(c), entries: Entry[] = [];
  const throughDirections = projected(c, expected);
  for (const p of processes) entries.push(await begin(p, c, opened.get(p.info.name)!.projects ? throughDirections : expected));
  for (let round = 0; round < rounds; round++) for (const [i, e] of entries.entries()) {
    if (e.variant === undefined) continue;
    try {
      e.times[round] = await processes[i]!.ask({ do: 'run', variant: e.variant, times: e.repeats });
    } catch (error) {
      e.variant = undefined;
      note(`${e.peer} failed in round ${round + 1}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  for (const [i, e] of entries.entries()) if (e.variant !== undefined) await processes[i]!.ask({ do: 'release', variant: e.variant }).catch(() => undefined);
  results.push({ case: c, flops: flopsOf(c), entries });
}
for (const p of processes) p.close();

/** How much longer a peer takes than ours: the median of the ratios within a round, in which other load falls on both. */
const ratioOf = (e: Entry, ours: Entry): number => median(e.times.map((t, i) => t / ours.times[i]!));
const notes: string[] = [];
const rows = results.map(({ case: c, entries }) => {
  const [ours, ...rest] = entries as [Entry, ...Entry[]], time = (e: Entry): number => median(e.times), ratio = (e: Entry): number => ratioOf(e, ours);
  const chosen = (e: Entry): Tried | undefined => e.tried.find((t) => t.variant === e.variant);
  const valid = (e: Entry): boolean => { const t = chosen(e); return !!t && e.times.length > 0 && right(c, t); };
  const cell = (e: Entry): string => {
    const t = chosen(e);
    if (!t || !e.times.length) return e.tried.length ? 'failed' : '—';
    const text = `${milliseconds(time(e))}${e === ours ? '' : `, ${ratio(e).toFixed(2)}×`}`;
    return right(c, t) ? text : `[${text}] wrong by ${t.error.toExponential(0)}`;
  };
  for (const e of rest) {
    for (const t of e.tried) if (t.problem) notes.push(`${c.name}: ${e.peer}, ${t.variant}: ${t.problem.split('\n')[0]}`);
    for (const t of e.tried) if (!t.problem && t.variant !== e.variant && !right(c, t)) notes.push(`${c.name}: ${e.peer}, ${t.variant}: wrong by ${t.error.toExponential(0)} in ${milliseconds(t.ms)}, so ${e.variant} counts`);
  }
  const best = valid(ours) ? rest.filter(valid).sort((a, b) => ratio(a) - ratio(b))[0] : undefined;
  return [c.name, ...entries.map(cell), best ? `${ratio(best).toFixed(2)}× (${best.peer})` : '—'];
});

console.log([
  `${adapter.adapter} (${adapter.kind}), Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}, medians of ${rounds} rounds; toggles ${adapter.toggles?.join(', ')}`,
  ...(adapter.software ? ['A software adapter: compare ratios, not times. Who has no GPU is better served by a CPU runtime.'] : []),
  'A ratio above 1 says that ours is so many times as fast. Results in brackets are wrong and do not count.', '',
  table(['case', ...processes.map((p) => p.info.name), 'ours against the best peer'], rows), '',
  ...processes.map((p) => { const o = opened.get(p.info.name)!; return `${Object.entries(o.versions).map(([n, v]) => `${n} ${v}`).join(', ')}: ${o.notes}.`; }),
  ...results.flatMap(({ case: c, entries }) => [`${c.name}: ${entries.slice(1).filter((e) => e.variant !== undefined).map((e) => `${e.peer} by ${e.variant}`).join('; ')}`]),
  ...(notes.length ? ['', ...notes] : []),
].join('\n'));

const name = adapter.kind === 'hardware' || adapter.kind === 'software' ? adapter.adapter!.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '') : adapter.kind;
const file = values.json ?? fileURLToPath(new URL(`results/peers-${name}.json`, import.meta.url));
mkdirSync(dirname(file), { recursive: true });
writeFileSync(file, `${JSON.stringify({
  adapter: { name: adapter.adapter, kind: adapter.kind, toggles: adapter.toggles }, node: process.version, cpu: cpus()[0]?.model, cores: cpus().length, rounds, sizes: choice.sizes, command: process.argv.slice(2).join(' '),
  runners: Object.fromEntries(opened), tolerance, results: results.map((r) => ({ ...r, entries: r.entries.map((e) => ({ ...e, ms: e.times.length ? median(e.times) : null, ratio: e.times.length ? ratioOf(e, r.entries[0]!) : null })) })),
}, null, 1)}\n`);
note(`written to ${file}`);
