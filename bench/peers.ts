/**
 * Ours beside what a user would pick instead, on one adapter in one run: `npm run bench:peers -- [--adapter KIND] [--rounds N]
 * [--sizes tiny|small|full] [--only TEXT]… [--peers NAME]… [--patience SECONDS] [--json FILE]`.
 *
 * Every runner has a process of its own and waits idle while another runs; they take turns, so that whatever else the
 * machine does falls on all alike. Of several ways to express a case (compare/runner.ts) each peer gets its fastest that is
 * right. Results are compared with float64 (compare/reference.ts); a wrong one is shown in brackets and never counts.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeOutput } from '../compiler/cli/write-file.ts';
import type { Case } from './compare/cases.ts';
import { casesFor, checkedRows, flopsOf } from './compare/cases.ts';
import { PeerProcess, driverVariable, installCommand, isInstalled, others, own } from './compare/peers.ts';
import { errorOf, projected, reference } from './compare/reference.ts';
import type { Entry, Result, Run, Tried } from './compare/report.ts';
import { isRight, resultLine, runJson, runText } from './compare/report.ts';
import type { Opened } from './compare/runner.ts';

const { values } = parseArgs({ options: {
  adapter: { type: 'string' }, rounds: { type: 'string', default: '3' }, sizes: { type: 'string' }, only: { type: 'string', multiple: true }, peers: { type: 'string', multiple: true }, json: { type: 'string' }, patience: { type: 'string', default: '300' },
} });
const rounds = Number(values.rounds), patience = 1000 * Number(values.patience), sizes = values.sizes as 'tiny' | 'small' | 'full' | undefined;
if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError(`--rounds is ${values.rounds}, and an integer of at least 1 was expected.`);
if (!(patience > 0)) throw new RangeError(`--patience is ${values.patience}, and seconds were expected: how long a peer may leave a request unanswered.`);
if (sizes && !['tiny', 'small', 'full'].includes(sizes)) throw new RangeError(`--sizes is ${values.sizes}, and one of tiny, small, full was expected.`);
const note = (what: string): void => { process.stderr.write(`${what} …\n`); };
const lower = (texts: readonly string[] | undefined): string[] => (texts ?? []).map((x) => x.toLowerCase());

const wantedPeers = lower(values.peers), asked = others.filter((p) => !wantedPeers.length || wantedPeers.some((w) => p.name.toLowerCase().includes(w)));
const missing = asked.filter((p) => !isInstalled(p));
if (missing.length) {
  console.log(`The peers ${missing.map((p) => p.name).join(', ')} are not installed: run \`${installCommand}\` and then this again.`);
  process.exit(1);
}

// Ours says which adapter it is; then all are pointed at that driver.
const scout = new PeerProcess(own, values.adapter ? { EEMLLM_ADAPTER: values.adapter } : {}, patience), adapter = await scout.ask({ do: 'open' });
scout.close();
const environment = await driverVariable(adapter.kind!), processes = [own, ...asked].map((p) => new PeerProcess(p, environment, patience)), opened = new Map<string, Opened>();
for (const p of processes) {
  note(`starting ${p.info.name}`);
  opened.set(p.info.name, await p.ask({ do: 'open' }));
}

const only = lower(values.only), choice = { software: adapter.software!, sizes: sizes ?? (adapter.software ? 'small' : 'full'), half: adapter.half } as const;
const cases = casesFor(choice).filter((c) => !only.length || only.some((o) => c.name.toLowerCase().includes(o)));
if (!cases.length) throw new RangeError(`--only ${only.join(' --only ')} leaves no case. They are: ${casesFor(choice).map((c) => c.name).join('; ')}.`);

const name = adapter.kind === 'hardware' || adapter.kind === 'software' ? adapter.adapter!.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '') : adapter.kind;
const file = values.json ?? fileURLToPath(new URL(`results/peers-${name}.json`, import.meta.url));
const results: Result[] = [], run: Run = { adapter, opened, rounds, sizes: choice.sizes, command: process.argv.slice(2).join(' '), results };

/** Prepares every variant, keeps the fastest that is right (or, if none is, the fastest), and lets go of the others. */
async function begin(p: PeerProcess, c: Case, expected: Float64Array): Promise<Entry> {
  const tried: Tried[] = [];
  let best: Tried | undefined;
  const prefer = (a: Tried, b: Tried): boolean => (isRight(c, a) === isRight(c, b) ? a.ms < b.ms : isRight(c, a));
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
  const result: Result = { case: c, flops: flopsOf(c), entries };
  results.push(result);
  process.stderr.write(`${resultLine(result)}\n`);
  // A run takes long: what it has is kept when it is cut off.
  await writeOutput(file, runJson(run), '--json');
}
for (const p of processes) p.close();

console.log(runText(run));
note(`written to ${file}`);
