/** Attention cases on concrete layouts: random data, what the kernels are given, and a plain reference. */
import { attentionDefault } from '../../compiler/schedule/attention-schedule.ts';
import type { AttentionSchedule } from '../../compiler/schedule/attention-schedule.ts';
import type { AttentionTileSchedule } from '../../compiler/schedule/attention-tile.ts';
import type { DeviceClass, DeviceFacts } from '../../compiler/schedule/device-facts.ts';
import { leastFacts } from '../../compiler/schedule/device-facts.ts';
import type { MaskDecl, PairClass } from '../../compiler/ir/graph.ts';
import { classTable, parseMaskExpr, predicate } from '../../compiler/ir/mask/index.ts';
import type { Token } from '../../compiler/ir/mask/index.ts';
import { Poly } from '../../compiler/ir/poly.ts';
import type { Sequence } from '../../compiler/ir/rows.ts';
import { attentionKernels, attentionScratch, attentionShape } from '../../compiler/wgsl/attention.ts';
import type { AttentionSpec } from '../../compiler/wgsl/attention.ts';
import type { Int8Heads } from '../../compiler/ir/state-format.ts';
import { asHeld } from '../../compiler/ir/state-format.ts';
import type { HeldView, Storage } from '../../compiler/wgsl/kernel.ts';
import { spanData } from '../../runtime/context.ts';
import type { Segment } from '../../runtime/context.ts';
import type { BufferData, RunResult } from './gpu.ts';
import { fromHalves, runKernels, toHalves } from './gpu.ts';
import { heldRows } from './held-rows.ts';

/** A run of text or one image, in the order of the prompt; `past` rows of it belong to earlier steps. */
export interface Part { readonly kind: 'visual' | 'text'; readonly length: number; readonly past?: number }

export interface CaseOptions {
  readonly mask: string;
  readonly parts: readonly Part[];
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly headDim?: number;
  readonly valueDim?: number;
  readonly queryKinds?: readonly ('visual' | 'text')[];
  readonly keyKinds?: readonly ('visual' | 'text')[];
  readonly relative?: 'interleaved' | 'halves';
  readonly storage?: { readonly q?: Storage; readonly kv?: Storage | 'int8'; readonly out?: Storage };
  /** Keys and values in one binding, side by side in each row. */
  readonly shared?: boolean;
  /** Keys and values are no states, but lie densely, kind after kind. */
  readonly dense?: boolean;
  /** Leave out what mask analysis proves. */
  readonly unproven?: boolean;
  /** The number of query rows is a constant of the kernel: decode. */
  readonly constantRows?: boolean;
  readonly seed?: number;
}

export interface Case {
  readonly spec: AttentionSpec;
  readonly buffers: Record<string, BufferData>;
  readonly dims: Record<string, number>;
  readonly dimsOrder: string[];
  readonly rows: Int32Array;
  readonly spans: Int32Array;
  /** What the result should be, `[query rows, heads × valueDim]`. */
  readonly expected: Float32Array;
  readonly features: readonly string[];
}

/** Uniform numbers in [-1, 1) from a seed. */
export function noise(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let x = Math.imul(s ^ (s >>> 15), s | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

const rounded = (x: Float32Array, s: Storage): Float32Array => (s === 'f32' ? x : fromHalves(toHalves(x)));
const stored = (x: Float32Array, s: Storage): BufferData => (s === 'f32' ? x : toHalves(x.length % 2 ? [...x, 0] : x));
export const decoded = (x: BufferData, s: Storage): Float32Array => (s === 'f32' ? (x as Float32Array) : fromHalves(x as Uint16Array));

export function attentionCase(o: CaseOptions): Case {
  const heads = o.heads ?? 4, kvHeads = o.kvHeads ?? heads, d = o.headDim ?? 32, dv = o.valueDim ?? d, random = noise(o.seed ?? 1);
  const storage = { q: o.storage?.q ?? 'f32', kv: o.storage?.kv ?? 'f32', out: o.storage?.out ?? 'f32' } as const;
  const count = (kind: string, of: (p: Part) => number): number => o.parts.reduce((n, p) => n + (p.kind === kind ? of(p) : 0), 0);
  const capacity = { visual: count('visual', (p) => p.length) + 3, text: count('text', (p) => p.length) + 5 };
  const sequence: Sequence = { name: 'tokens', kinds: [{ name: 'visual', count: Poly.dim('V'), media: true }, { name: 'text', count: Poly.dim('T'), media: false }] };
  const kinds = sequence.kinds.map((k) => ({ name: k.name, hasImages: k.media }));

  // Images begin two slots into their region, as if others had been there before; text begins at its region.
  const segments: Segment[] = [], tokens: (Token & { slot: number; fresh: boolean })[] = [];
  const next = [2, 0], visualRows = count('visual', (p) => p.length);
  let position = 0, image = 0;
  for (const p of o.parts) {
    const kind = p.kind === 'visual' ? 0 : 1, number = kind ? -1 : image++;
    segments.push({ kind, image: number, position, slot: next[kind]!, length: p.length });
    for (let i = 0; i < p.length; i++) tokens.push({ kind: p.kind, pos: position + i, index: i, image: number, slot: (kind ? (o.dense ? visualRows : capacity.visual) : 0) + next[kind]! + i - (o.dense && !kind ? 2 : 0), fresh: i >= (p.past ?? 0) });
    next[kind]! += p.length;
    position += p.length;
  }
  const spans = spanData({ name: 'tokens', kinds: [{ name: 'visual', media: true, capacity: capacity.visual }, { name: 'text', media: false, capacity: capacity.text }] }, segments);
  const queryKinds = o.queryKinds ?? ['visual', 'text'], keyKinds = o.keyKinds ?? ['visual', 'text'];
  const inOrder = (['visual', 'text'] as const).flatMap((kind) => tokens.filter((t) => t.kind === kind && t.fresh));
  const queries = inOrder.filter((t) => queryKinds.includes(t.kind as 'visual'));
  const rows = Int32Array.from(inOrder.flatMap((t) => [t.pos, t.kind === 'visual' ? 0 : 1, t.index, t.image]));
  const fresh = { V: inOrder.filter((t) => t.kind === 'visual').length, T: inOrder.filter((t) => t.kind === 'text').length };

  const expr = parseMaskExpr(o.mask, kinds);
  const table = classTable(expr, kinds), pairs: Record<string, PairClass> = {};
  for (const a of kinds) for (const b of kinds) pairs[`${a.name}>${b.name}`] = table[a.name]![b.name]!;
  const mask: MaskDecl = { name: 'test', sequence, expr, ...(o.unproven ? {} : { pairs }) };

  const slots = capacity.visual + capacity.text, fill = (n: number): Float32Array => Float32Array.from({ length: n }, random);
  const qData = fill((queries.length + 2) * heads * d), kData = fill(slots * kvHeads * d), vData = fill(slots * kvHeads * dv);
  const frequencies = Float64Array.from({ length: Math.floor(d / 2) }, (_, i) => 100 ** ((-2 * i) / d));
  const angles = Float32Array.from({ length: (position + 1) * frequencies.length * 2 }, (_, i) => {
    const angle = Math.floor(i / (2 * frequencies.length)) * frequencies[Math.floor(i / 2) % frequencies.length]!;
    return i % 2 ? Math.sin(angle) : Math.cos(angle);
  });

  const rowsOf = (names: readonly string[]): Poly => Poly.sum(sequence.kinds.filter((k) => names.includes(k.name)).map((k) => k.count));
  const view = <S extends HeldView['storage']>(binding: string, s: S, stride: number, offset = 0, column = 0) => ({ binding, storage: s, stride, offset: Poly.of(offset), column });
  const heads8: Int8Heads = { kind: 'int8', heads: kvHeads }, held = storage.kv === 'int8' ? heads8 : storage.kv;
  const kStride = kvHeads * d, vStride = kvHeads * dv;
  const denseShift = { visual: Poly.of(-2), text: Poly.dim('V').sub(capacity.visual) };
  const spec: AttentionSpec = {
    heads, kvHeads, headDim: d, valueDim: dv, scale: 1 / Math.sqrt(d),
    q: view('q', storage.q, heads * d, 1),
    k: o.shared ? view('kv', held, kStride + vStride) : view('k', held, kStride),
    v: o.shared ? view('kv', held, kStride + vStride, 0, kStride) : view('v', held, vStride),
    out: view('out', storage.out, heads * dv, 1),
    qRows: o.constantRows ? Poly.of(queries.length) : rowsOf(queryKinds), qRowData: queryKinds.includes('visual') ? Poly.zero : Poly.dim('V'),
    rows: 'rows', spans: 'spans', sequence, mask, queryKinds, keyKinds,
    ...(o.dense ? { keyShift: denseShift, valueShift: denseShift } : {}),
    ...(o.relative ? { relative: { kinds: [0], table: 'angles', interleaved: o.relative === 'interleaved' } } : {}),
  };

  const kv: Record<string, BufferData> = {};
  if (o.shared) {
    const both = new Float32Array(slots * (kStride + vStride));
    for (let s = 0; s < slots; s++) {
      both.set(kData.subarray(s * kStride, (s + 1) * kStride), s * (kStride + vStride));
      both.set(vData.subarray(s * vStride, (s + 1) * vStride), s * (kStride + vStride) + kStride);
    }
    kv['kv'] = stored(both, storage.kv as Storage);
  } else if (storage.kv === 'int8') Object.assign(kv, { k: heldRows(heads8, kData, kStride), v: heldRows(heads8, vData, vStride) });
  else Object.assign(kv, { k: stored(kData, storage.kv), v: stored(vData, storage.kv) });
  const buffers: Record<string, BufferData> = {
    q: stored(qData, storage.q), ...kv, out: stored(new Float32Array((queries.length + 2) * heads * dv).fill(7), storage.out),
    rows: rows.length ? rows : new Int32Array(4), spans: spans.length ? spans : new Int32Array(8), angles,
  };
  const dims = { ...fresh, CV: 0, CT: 0, spans_tokens: segments.length };

  const ofCache = (x: Float32Array, width: number): Float32Array => (storage.kv === 'int8' ? asHeld(heads8, x, width) : rounded(x, storage.kv));
  const [Q, K, V] = [rounded(qData, storage.q), ofCache(kData, kStride), ofCache(vData, vStride)];
  const allows = predicate(expr), expected = new Float32Array(queries.length * heads * dv);
  const keys = tokens.filter((t) => keyKinds.includes(t.kind as 'visual'));
  queries.forEach((qt, i) => {
    const read = keys.filter((t) => allows(qt, t));
    for (let h = 0; h < heads; h++) {
      const g = Math.floor(h / (heads / kvHeads)), plain = Q.subarray((i + 1) * heads * d + h * d, (i + 1) * heads * d + (h + 1) * d);
      const turned = new Map<number, Float64Array>();
      const turn = (origin: number): Float64Array => {
        let x = turned.get(origin);
        if (!x) {
          x = Float64Array.from(plain);
          if (origin) frequencies.forEach((f, j) => {
            const [a, b] = o.relative === 'interleaved' ? [2 * j, 2 * j + 1] : [j, j + d / 2], c = Math.cos(-origin * f), s = Math.sin(-origin * f);
            [x![a], x![b]] = [plain[a]! * c - plain[b]! * s, plain[b]! * c + plain[a]! * s];
          });
          turned.set(origin, x);
        }
        return x;
      };
      const scores = read.map((t) => {
        const x = turn(o.relative && t.kind === 'visual' ? t.pos - t.index : 0);
        let s = 0;
        for (let e = 0; e < d; e++) s += x[e]! * K[t.slot * kStride + g * d + e]!;
        return s * spec.scale;
      });
      const max = Math.max(...scores), weights = scores.map((s) => Math.exp(s - max)), sum = weights.reduce((a, b) => a + b, 0);
      read.forEach((t, j) => { for (let e = 0; e < dv; e++) expected[i * heads * dv + h * dv + e]! += (weights[j]! / sum) * V[t.slot * vStride + g * dv + e]!; });
    }
  });
  const used = Object.values(storage);
  return { spec, buffers, dims, dimsOrder: ['V', 'T', 'CV', 'CT', 'spans_tokens'], rows, spans, expected, features: used.includes('f16') ? ['shader-f16'] : [] };
}

/** The spec with scratch memory of its own, as far as the schedule needs some. */
export function withScratch(c: Case, schedule: AttentionSchedule): { spec: AttentionSpec; buffers: Record<string, BufferData> } {
  const n = attentionScratch(c.spec, schedule);
  if (!n) return { spec: c.spec, buffers: c.buffers };
  return { spec: { ...c.spec, scratch: { binding: 'scratch', storage: 'f32', stride: 4, offset: Poly.zero } }, buffers: { ...c.buffers, scratch: new Float32Array(n) } };
}

export const kernelsOf = (c: Case, schedule: AttentionSchedule, facts?: DeviceFacts) =>
  attentionKernels(withScratch(c, schedule).spec, schedule, { dims: c.dimsOrder, features: new Set([...c.features, ...(facts?.features ?? [])]) }, facts);
export const defaultOf = (c: Case, device: DeviceClass): AttentionTileSchedule => attentionDefault(attentionShape(c.spec), leastFacts(device));

/** Largest absolute difference between the kernels' result and the reference; rows around the result must stay untouched. */
export async function worstError(device: GPUDevice, c: Case, schedule: AttentionSchedule, facts?: DeviceFacts): Promise<number> {
  const { outputs } = await runAttention(device, c, schedule, 1, facts);
  const out = decoded(outputs['out']!, c.spec.out.storage), w = c.spec.heads * c.spec.valueDim;
  for (const i of [0, w - 1, w + c.expected.length, 2 * w + c.expected.length - 1]) if (out[i] !== 7) throw new Error(`Element ${i} is ${out[i]}, outside of the ${c.expected.length / w} rows that the kernel is to write.`);
  let worst = 0;
  c.expected.forEach((x, i) => { const e = Math.abs(x - out[w + i]!); worst = e <= worst ? worst : e; });
  return worst;
}

export const runAttention = (device: GPUDevice, c: Case, schedule: AttentionSchedule, repeat = 1, facts?: DeviceFacts): Promise<RunResult> =>
  runKernels(device, kernelsOf(c, schedule, facts), { buffers: withScratch(c, schedule).buffers, dims: c.dims, dimsOrder: c.dimsOrder, repeat });
