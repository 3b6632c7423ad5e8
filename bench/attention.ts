/**
 * Attention schedules on one adapter: `npx tsx bench/attention.ts [--adapter KIND] [--rounds N] [--only WORDS] [--all] [--json FILE]`.
 *
 * For every shape the default schedule, some around it and those that exchange inside a subgroup (`--all`: the whole space of a tuner), run by turns, so that
 * other load falls on all alike; the fastest round counts. Each result is checked against the reference. FLOPs are those of
 * the pairs that the mask admits. The first run holds what the driver puts off from compiling.
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { countPairs } from '../compiler/ir/mask/index.ts';
import type { MaskSegment } from '../compiler/ir/mask/index.ts';
import { milliseconds, table } from '../compiler/cli/output.ts';
import type { AttentionSchedule } from '../compiler/schedule/attention-schedule.ts';
import { attentionSpace, whyNotAttention } from '../compiler/schedule/attention-schedule.ts';
import { factsOf } from '../compiler/schedule/device-facts.ts';
import { attentionShape } from '../compiler/wgsl/attention.ts';
import { attentionBlocks } from '../compiler/wgsl/attention-blocks.ts';
import type { AdapterPreference } from '../runtime/node.ts';
import { findAdapter } from '../runtime/node.ts';
import type { Case, CaseOptions } from '../test/support/attention.ts';
import { attentionCase, decoded, defaultOf, kernelsOf, withScratch } from '../test/support/attention.ts';
import type { Prepared } from '../test/support/gpu.ts';
import { prepareKernels } from '../test/support/gpu.ts';

const { values } = parseArgs({ options: { only: { type: 'string' }, adapter: { type: 'string' }, rounds: { type: 'string', default: '5' }, all: { type: 'boolean', default: false }, json: { type: 'string' } } });
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError(`--rounds is ${values.rounds}, and an integer of at least 1 was expected.`);
const found = await findAdapter(values.adapter ? { prefer: values.adapter as AdapterPreference } : {}), { software } = found, opened = await found.open(), facts = factsOf(opened, found.adapter.info, software);

const text = (length: number, past = 0) => ({ kind: 'text' as const, length, past }), visual = (length: number, past = 0) => ({ kind: 'visual' as const, length, past });
const causal = 'k.pos <= q.pos', composite = 'q.kind == text ? k.pos <= q.pos : k.pos == q.pos', n = software ? 1 : 4;
const queryKinds = ['text'] as const;
const shapes: Readonly<Record<string, CaseOptions>> = {
  'causal, heads of 64': { mask: causal, parts: [text(640 * n)], heads: 16, headDim: 64, queryKinds },
  'causal, heads of 128': { mask: causal, parts: [text(320 * n)], heads: 8 * n, headDim: 128, queryKinds },
  'causal, heads of 64, long': { mask: causal, parts: [text(2048 * n)], heads: 16, headDim: 64, queryKinds },
  'self, image and text': { mask: causal, parts: [visual(576), text(64)], heads: 8 * n, headDim: 64 },
  'composite, the same': { mask: composite, parts: [visual(576), text(64)], heads: 8 * n, headDim: 64, queryKinds },
  'decode, 32 KV heads of 128': { mask: causal, parts: [text(1000 * n, 1000 * n - 1)], heads: 32, headDim: 128, queryKinds, constantRows: true },
  'decode, 8 KV heads of 128': { mask: causal, parts: [text(1000 * n, 1000 * n - 1)], heads: 32, kvHeads: 8, headDim: 128, queryKinds, constantRows: true },
};

const show = (s: AttentionSchedule): string => {
  const each = `${s.rowsPerThread}×${s.keysPerThread} each`, split = s.splits > 1 ? `, ${s.splits} splits` : '', merged = s.mergeHeads ? ', merged heads' : '';
  if (s.form === 'exchange') return `exchange of ${s.lanes} lanes, ${each}${merged}${split}`;
  return `${s.rowGroups}×${s.lanes} invocations, ${each}${s.valueGroups > 1 ? `, ${s.valueGroups} value groups` : ''}${s.staged ? `, ${s.staged} staged` : ''}${s.rolled ? '' : ', free to unroll'}${merged}${split}`;
};

function candidates(c: Case): AttentionSchedule[] {
  const shape = attentionShape(c.spec), own = defaultOf(c, software ? 'software' : 'gpu');
  const around = [
    ...[2, 4, 8, 16].map((rowsPerThread) => ({ ...own, rowsPerThread })), ...[1, 2, 4, 8].map((keysPerThread) => ({ ...own, keysPerThread })),
    ...(own.rowGroups === 1 ? [4, 16, 32].map((lanes) => ({ ...own, lanes })) : []), { ...own, rolled: !own.rolled }, defaultOf(c, software ? 'gpu' : 'software'),
  ];
  const space = attentionSpace(shape, facts), exchange = space.filter((s) => s.form === 'exchange');
  const list: AttentionSchedule[] = values.all ? [own, ...space] : [own, ...around.filter((s) => !whyNotAttention(s, shape, facts)), ...exchange];
  return [...new Map(list.map((s) => [JSON.stringify(Object.entries(s).sort()), s])).values()];
}

/** FLOPs of the pairs that the mask admits. */
function admitted(c: Case, o: CaseOptions): number {
  const kinds = c.spec.sequence.kinds.map((k) => ({ name: k.name, hasImages: k.media }));
  let start = 0, image = 0;
  const keys: (MaskSegment & { past: number })[] = o.parts.map((p) => {
    const s = { kind: p.kind, image: p.kind === 'visual' ? image++ : -1, start, length: p.length, past: p.past ?? 0 };
    start += p.length;
    return s;
  });
  const queries = keys.filter((s) => c.spec.queryKinds.includes(s.kind)).map((s) => ({ ...s, start: s.start + s.past, index: s.past, length: s.length - s.past }));
  return Number(countPairs(c.spec.mask.expr, queries, keys, kinds)) * 2 * c.spec.heads * (c.spec.headDim + c.spec.valueDim);
}

interface Row { readonly schedule: AttentionSchedule; /** Milliseconds of the fastest round, and of all. */ readonly ms: number; readonly times: readonly number[]; readonly first: number; readonly gflops: number; readonly executed: number; readonly full: number; readonly mixed: number; readonly skipped: number; readonly worstError: number }
const results: { readonly name: string; readonly flops: number; readonly rows: readonly Row[] }[] = [];
for (const [name, options] of Object.entries(shapes)) {
  if (!name.includes(values.only ?? '')) continue;
  const c = attentionCase(options), flops = admitted(c, options);
  const runs: { readonly schedule: AttentionSchedule; readonly ready: Prepared; readonly first: number; readonly times: number[] }[] = [];
  for (const schedule of candidates(c)) {
    const ready = await prepareKernels(opened.device, kernelsOf(c, schedule, facts), { buffers: withScratch(c, schedule).buffers, dims: c.dims, dimsOrder: c.dimsOrder });
    runs.push({ schedule, ready, first: ready.compile + await ready.run(), times: [] });
  }
  for (let r = 0; r < rounds; r++) for (const run of runs) run.times.push(await run.ready.run());
  const rows: Row[] = [];
  for (const { schedule, ready, first, times } of runs) {
    const out = decoded((await ready.read())['out']!, c.spec.out.storage), width = c.spec.heads * c.spec.valueDim;
    const worstError = c.expected.reduce((w, x, i) => Math.max(w, Math.abs(x - out[width + i]!)), 0);
    if (!(worstError < 1e-4)) throw new Error(`${name} with ${show(schedule)} is wrong by ${worstError}.`);
    const done = attentionBlocks(c.spec, schedule, { dims: c.dims, rows: c.rows, spans: c.spans }), ms = Math.min(...times);
    rows.push({ schedule, ms, times, first, gflops: flops / ms / 1e6, executed: done.flops, full: done.full, mixed: done.mixed, skipped: done.skipped, worstError });
    ready.destroy();
  }
  results.push({ name, flops, rows });
  const [own] = rows;
  process.stdout.write(`\n${name}: ${(flops / 1e9).toFixed(3)} GFLOP\n${table(['schedule', 'time', 'GFLOP/s', 'of default', 'executed', 'first run'], [own!, ...rows.slice(1).sort((a, b) => a.ms - b.ms).slice(0, 8)]
    .map((r, i) => [`${i ? '' : 'default: '}${show(r.schedule)}`, milliseconds(r.ms), r.gflops.toPrecision(3), `${(own!.ms / r.ms).toFixed(2)}×`, `${(r.executed / flops).toFixed(2)}×`, milliseconds(r.first)]))}\n`);
}

const [self, less] = ['self, image and text', 'composite, the same'].map((name) => results.find((r) => r.name === name));
if (self && less) process.stdout.write(`\ncomposite over self, one image of 576 and 64 text rows: FLOPs ${(self.flops / less.flops).toFixed(2)}×, time ${(self.rows[0]!.ms / less.rows[0]!.ms).toFixed(2)}×\n`);
if (values.json) writeFileSync(values.json, `${JSON.stringify({ adapter: found.name, toggles: found.toggles, node: process.version, cpu: cpus()[0]?.model, rounds, results }, null, 1)}\n`);
opened.close();
