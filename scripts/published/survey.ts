import { profileNamed } from '../../compiler/cost/device-profiles.ts';
import { sumOf } from '../../compiler/cost/grouping.ts';
import { llmViewerMemory } from '../../compiler/cost/memory-rules.ts';
import type { OpCost } from '../../compiler/cost/op-cost.ts';
import type { ProgramCost } from '../../compiler/cost/program-cost.ts';
import { programCost } from '../../compiler/cost/program-cost.ts';
import { rooflineTime } from '../../compiler/cost/roofline.ts';
import { uniform } from '../../compiler/cost/storage.ts';
import { stateBytes, weightBytes } from '../../compiler/cost/traffic.ts';
import { Poly } from '../../compiler/ir/poly.ts';
import { program } from '../../compiler/ir/program.ts';
import { countedProgram } from '../../passes/cost-program.ts';
import { conventionNamed, counted } from '../../passes/flops.ts';
import { flops, graphOf, scaled } from './ask.ts';
import type { Answer, Row, Section } from './row.ts';

type Size = 'vicuna-7b' | 'vicuna-13b';
const convention = conventionNamed('llm-viewer');

interface Viewed { readonly cost: ProgramCost; readonly ops: readonly OpCost[] }
/** The decoder and its head by LLM-Viewer's rule of what goes through memory. */
async function viewed(model: Size, bits: number): Promise<Viewed> {
  const cost = programCost(program([counted(await graphOf(model, 'self'), convention)]), convention, { memory: llmViewerMemory(bits) });
  return { cost, ops: cost.ops.filter((op) => convention.total.includes(op.part)) };
}
/** Bits may make parts of a byte. */
const bytesAt = (p: Poly, { cost }: Viewed, rows: number): number => Number(p.mul(8).nearest(cost.dims(prompt(rows)))) / 8;
const prompt = (rows: number) => ({ dims: { V: 0, T: rows } });

async function moved(model: Size, bits: number, rows: number): Promise<Answer> {
  const all = await viewed(model, bits), { weights, read, written } = sumOf(all.ops);
  return { value: bytesAt(Poly.sum([weights, read, written]), all, rows) / 1e9 };
}
/** What ops write, but for keys and values, which go to the cache. */
const activations = (ops: readonly OpCost[]): Poly => Poly.sum(ops.filter((op) => !/\.[kv]_proj$/.test(op.path)).map((op) => op.traffic.written));
async function stored(model: Size, bits: number, rows: number): Promise<Answer> {
  const all = await viewed(model, bits);
  return { value: bytesAt(activations(all.ops), all, rows) / 1e9 };
}
async function time(model: Size, bits: number, rows: number): Promise<Answer> {
  const { cost, ops } = await viewed(model, bits);
  return { value: rooflineTime(cost, profileNamed('v100'), prompt(rows), { math: bits < 8 ? 'int8' : 'f16', ops }).seconds * 1e3 };
}
/** Weights of the decoder's layers, its cache, and what one layer stores. */
async function resident(model: Size, rows: number): Promise<Answer> {
  const all = await viewed(model, 16), { text } = stateBytes(countedProgram(await graphOf(model, 'self'), conventionNamed('exact')).graphs.values(), uniform(16));
  const layers = all.ops.filter((op) => op.layer), weights = new Set(layers.flatMap((op) => op.holds).filter((w) => w.type.dims.length > 1));
  const graph = { ...all.cost.program.graphs.values().next().value!, weights: new Map([...weights].map((w) => [String(w.attrs['name']), w])) };
  const one = layers.filter((op) => op.layer!.index === 0);
  return { value: (Number(weightBytes(graph, uniform(16)).evaluate({})) + Number(text.evaluate({ CT: rows })) + bytesAt(activations(one), all, rows)) / 1e9 };
}

function lines(model: Size, rows: number, bits: 16 | 4, [ops, ms, gigabytes, kept]: readonly [number, number, number, number]): Row[] {
  const of = (check: string, published: number, unit: string, tolerance: Row['tolerance'], ours: () => Promise<Answer>, note?: string): Row =>
    ({ check: `${model}, ${rows} rows, ${bits}-bit: ${check}`, published, unit, kind: 'printed', tolerance, convention: 'llm-viewer', ours, ...(note && { note }) });
  return [
    of('prefill OPs', ops, 'TOPs', { percent: 1.5 }, async () => scaled(await flops({ model, variant: 'self', text: rows, convention: 'llm-viewer' }, 1e12), 16 / bits), bits === 4 ? 'a quarter of the OPs at 16 bits is printed' : undefined),
    of('roofline prefill time', ms, 'ms', { within: 0.06 }, () => time(model, bits, rows), bits === 4 ? 'at the peak of INT8' : undefined),
    of("bytes moved (printed as 'total memory')", gigabytes, 'GB', { within: 0.051 }, () => moved(model, bits, rows)),
    of('activations stored', kept, 'GB', { within: 0.051 }, () => stored(model, bits, rows)),
  ];
}

export const survey: Section = {
  title: "The survey's 18.2 T FLOPs and 41.6 GB", source: 'arXiv 2405.10739, from LLaVA-PruMerge, arXiv 2403.15388; LLM-Viewer on a V100',
  rows: [
    ...lines('vicuna-7b', 700, 16, [9.3, 88.6, 23.3, 4.6]), ...lines('vicuna-7b', 70, 16, [0.91, 15.3, 13.7, 0.28]),
    ...lines('vicuna-13b', 700, 16, [18.2, 170.5, 41.6, 7.3]), ...lines('vicuna-13b', 700, 4, [4.6, 294.9, 10.5, 1.8]),
    // Shown as 15.948; its tolerance is that of all digits of the closed form.
    { check: 'vicuna-13b FP16 at 576+40 tokens', published: 15.9476528128, unit: 'TOPs', kind: 'derived', tolerance: { percent: 0.0001 }, convention: 'llm-viewer', ours: () => flops({ model: 'llava-1.5-13b', variant: 'self', visual: 576, text: 40, convention: 'llm-viewer' }, 1e12) },
    { check: 'vicuna-13b FP16 traffic at 616 tokens', published: 39, unit: 'GB', kind: 'derived', tolerance: { within: 0.001 }, convention: 'llm-viewer', ours: () => moved('vicuna-13b', 16, 616) },
    { check: "vicuna-13b FP16 resident: decoder weights + KV cache + one layer's stored activations", published: 26.032, unit: 'GB', kind: 'derived', tolerance: { within: 0.001 }, convention: 'llm-viewer', ours: () => resident('vicuna-13b', 616) },
  ],
};
