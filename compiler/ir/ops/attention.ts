import type { Attr, Attrs, GraphHead, MaskDecl, PairClass } from '../graph.ts';
import { pairKey } from '../graph.ts';
import { staysInImage, usesAbsolutePosition } from '../mask/prove.ts';
import type { RowSet } from '../rows.ts';
import { maskKind, maskKinds, printRows, restrictRows, sameRows, sequenceKind } from '../rows.ts';
import { suggest } from '../spelling.ts';
import { printType, tensorType } from '../types.ts';
import type { OpDef } from './def.ts';
import { expect, num, str } from './def.ts';
import { checkRope, ropeFrequencies, rotate } from './rope.ts';

export const maskNamed = (name: string, head: GraphHead): MaskDecl => {
  const m = head.masks.get(name);
  if (!m) throw new RangeError(`the mask '${name}' is not declared.${suggest(name, head.masks.keys(), 'Declared are')}`);
  return m;
};
export const maskOf = (attrs: Attrs, head: GraphHead): MaskDecl => maskNamed(str(attrs, 'mask'), head);
/** What is proven of a pair of kinds; `mixed` until mask analysis has run. */
export const pairClass = (m: MaskDecl, q: string, k: string): PairClass => m.pairs?.[pairKey(q, k)] ?? 'mixed';

/** Kinds of key that queries of the given kinds may read. */
export const keysRead = (m: MaskDecl, queries: RowSet, keys: RowSet): RowSet | undefined =>
  restrictRows(keys, keys.kinds.filter((k) => queries.kinds.some((q) => pairClass(m, q, k) !== 'empty')));

/** Keys that are rotated by their place within their image: their kinds, and the rope's own attributes. */
type Relative = Attrs & { readonly kinds: readonly string[] };
function checkRelative(a: Attr, keys: RowSet): asserts a is Relative {
  const r = a as Partial<Relative>;
  expect(typeof a === 'object' && Array.isArray(r.kinds), () => `the attribute 'relative' must be a record with a list 'kinds' and the rope's attributes, not ${JSON.stringify(a)}.`);
  for (const kind of r.kinds!) sequenceKind(keys.sequence, String(kind));
  checkRope(r as Relative);
}

/**
 * softmax(scale · Q Kᵀ + mask) V, head by head. A query that may read no key gives zero.
 *
 * `kv_heads` < `heads` is grouped-query attention (arXiv 2305.13245). With `relative` (kinds, and the rope's own
 * attributes), keys of these kinds are rotated by their place within their image instead of their position, and each
 * query is turned back by the position where that image begins: R(p)q · R(s)k = R(p−o)q · R(s−o)k.
 */
export const attention: OpDef = {
  name: 'attention', doc: 'Masked softmax attention over heads; rows that may read nothing give zero.',
  arity: 3, attrs: { heads: 'count', kv_heads: 'count', scale: 'number', mask: 'mask', relative: 'any?' },
  infer: ([q, k, v], attrs, head) => {
    const H = num(attrs, 'heads'), KV = num(attrs, 'kv_heads'), d = q!.dims[0]! / H;
    const m = maskOf(attrs, head);
    for (const t of [q, k, v]) expect(!!t!.rows && t!.dims.length === 1, () => `needs rows of vectors, not ${printType(t!)}.`);
    expect(Number.isInteger(d), () => `queries ${printType(q!)} do not split into ${H} heads.`);
    expect(H % KV === 0, () => `${H} query heads do not share ${KV} key heads evenly.`);
    expect(k!.dims[0] === KV * d, () => `keys must be ${KV} heads of ${d} (${KV * d} wide), not ${printType(k!)}.`);
    expect(sameRows(k!.rows!, v!.rows!), () => `keys and values must be of the same rows, not ${printType(k!)} and ${printType(v!)}.`);
    expect(Number.isInteger(v!.dims[0]! / KV), () => `values ${printType(v!)} do not split into ${KV} heads.`);
    expect(q!.rows!.sequence.name === m.sequence.name && k!.rows!.sequence.name === m.sequence.name, () => `the mask '${m.name}' speaks of sequence '${m.sequence.name}', the queries are ${printType(q!)} and the keys ${printType(k!)}.`);
    if (attrs['relative'] !== undefined) {
      checkRelative(attrs['relative'], k!.rows!);
      expect(d % 2 === 0, () => `heads of odd size ${d} cannot be rotated.`);
    }
    return tensorType(q!.dtype, q!.rows, [(v!.dims[0]! / KV) * H]);
  },
  gathers: [1, 2],
  reads: (n, out, i, head) => (i === 0 ? out : keysRead(maskOf(n.attrs, head), out, n.inputs[i]!.type.rows!)),
  narrow: (b, n, [q, k, v], out) => {
    const m = maskOf(n.attrs, b);
    const read = keysRead(m, out, k!.type.rows!);
    if (!read) return b.op('zeros', [], { rows: printRows(out), width: n.type.dims[0]! }, n);
    // A context state keeps its rows; new keys shrink to those that the mask leaves to these queries.
    const keys = k!.type.rows!.context ? k!.type.rows! : read;
    return b.op('attention', [b.select(q!, out), b.select(k!, keys), b.select(v!, keys)], n.attrs, n);
  },
  time: (n, kind, head) => {
    const m = maskOf(n.attrs, head);
    if (kind === undefined) return 'prompt';
    const kinds = maskKinds(m.sequence), q = maskKind(m.sequence, kind), media = sequenceKind(m.sequence, kind).media;
    // Without a text kind every image is a sequence of its own: nothing of it waits for a prompt.
    if (kinds.every((s) => s.hasImages)) return 'constant';
    for (const part of n.inputs[1]!.type.rows!.kinds) {
      const cls = pairClass(m, kind, part), k = maskKind(m.sequence, part);
      if (cls === 'empty' || cls === 'diagonal') continue;
      if (q !== k || !media || !staysInImage(m.expr, q, kinds) || usesAbsolutePosition(m.expr, q, k, kinds)) return 'prompt';
    }
    return 'constant';
  },
  counts: (n, pairs) => {
    const H = num(n.attrs, 'heads'), p = pairs(n), q = n.inputs[0]!.type, v = n.inputs[2]!.type;
    return { scores: p.mul(q.dims[0]!).add(p.mul((v.dims[0]! / num(n.attrs, 'kv_heads')) * H)), softmax: p.mul(H) };
  },
  evaluate: (n, [q, k, v], ctx) => {
    const H = num(n.attrs, 'heads'), KV = num(n.attrs, 'kv_heads'), scale = num(n.attrs, 'scale'), mask = str(n.attrs, 'mask');
    const d = q!.type.dims[0]! / H, dv = v!.type.dims[0]! / KV, Q = ctx.tokens(q!.type.rows!), K = ctx.tokens(k!.type.rows!);
    const relative = n.attrs['relative'] as Relative | undefined;
    const freq = relative && ropeFrequencies(d, relative);
    const out = new Float32Array(Q.length * H * dv), score = new Float64Array(K.length), sumV = new Float64Array(dv);
    const queries = q!.data as Float32Array, ks = k!.data as Float32Array, vs = v!.data as Float32Array;
    for (let i = 0; i < Q.length; i++) {
      const keys = K.flatMap((t, j) => (ctx.allows(mask, Q[i]!, t) ? [j] : []));
      for (let h = 0; h < H; h++) {
        const kv = Math.floor(h / (H / KV));
        const plain = queries.subarray(i * H * d + h * d, i * H * d + (h + 1) * d);
        let origin = 0, turned = plain, max = -Infinity;
        for (const j of keys) {
          const t = K[j]!, o = relative?.kinds.includes(t.kind) ? t.pos - t.index : 0;
          if (o !== origin) { origin = o; turned = o ? Float32Array.from(plain) : plain; if (o) rotate(turned, -o, freq!); }
          let s = 0;
          for (let e = 0; e < d; e++) s += turned[e]! * ks[j * KV * d + kv * d + e]!;
          score[j] = s * scale; max = Math.max(max, score[j]!);
        }
        let sum = 0;
        for (const j of keys) sum += score[j] = Math.exp(score[j]! - max);
        if (!keys.length) continue;
        sumV.fill(0);
        for (const j of keys) for (let e = 0, w = score[j]!, o = j * KV * dv + kv * dv; e < dv; e++) sumV[e]! += w * vs[o + e]!;
        for (let e = 0; e < dv; e++) out[i * H * dv + h * dv + e] = sumV[e]! / sum;
      }
    }
    return { type: n.type, data: out };
  },
};

/** Each key-value head repeated for its group of query heads: what attention gives a row that reads itself alone. */
export const repeatHeads: OpDef = {
  name: 'repeat_heads', doc: 'Repeats each of kv_heads heads for its group of query heads.',
  arity: 1, attrs: { heads: 'count', kv_heads: 'count' },
  infer: ([v], attrs) => {
    const KV = num(attrs, 'kv_heads'), H = num(attrs, 'heads');
    expect(v!.dims[0]! % KV === 0 && H % KV === 0, () => `${printType(v!)} does not hold ${KV} heads to share among ${H}.`);
    return tensorType(v!.dtype, v!.rows, [(v!.dims[0]! / KV) * H]);
  },
  counts: () => ({}),
  evaluate: (n, [v]) => {
    const KV = num(n.attrs, 'kv_heads'), H = num(n.attrs, 'heads'), w = n.type.dims[0]!, d = w / H;
    const out = new Float32Array((v!.data.length / KV) * H);
    for (let i = 0; i < out.length; i++) {
      const r = Math.floor(i / w), h = Math.floor((i % w) / d);
      out[i] = v!.data[r * KV * d + Math.floor(h / (H / KV)) * d + (i % d)]!;
    }
    return { type: n.type, data: out };
  },
};

