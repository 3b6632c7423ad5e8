/** jax-js on our adapter: the whole case is one jitted function, so that it may fuse what it can. */
import type * as Jax from '@jax-js/jax';
import type { Case, LayerCase, LayerWeights } from '../compare/cases.ts';
import { activations, bias, layerShapes, layerWeights, normEpsilon, productWeight, rotary, shifted, shifts, transposed } from '../compare/cases.ts';
import { keysAndValues } from '../compare/reference.ts';
import type { Ready, Runner } from '../compare/runner.ts';
import { serve } from '../compare/runner.ts';
import { browserGlobals, versionOf, watch } from './adapter.ts';

type JaxArray = Jax.Array;
let jax: typeof Jax, check: () => void;

const inOut = 'weights [in, out]', outIn = 'weights [out, in]';

/** A function of arrays that stay on the device, and of the rows that go in. It consumes its arguments, as jax-js has it. */
interface Built { readonly call: (rows: JaxArray, ...fixed: JaxArray[]) => JaxArray; readonly fixed: readonly JaxArray[]; readonly rows: Float32Array; readonly shape: number[]; readonly upload: boolean }

function build(c: Case, variant: string): Built {
  const { numpy: np, nn } = jax, half = c.precision === 'f16', wide = variant.endsWith(outIn);
  const array = (data: Float32Array, shape: readonly number[]): JaxArray => { const a = np.array(data as Float32Array<ArrayBuffer>, { shape: [...shape] }); return half ? a.astype(np.float16) : a; };
  const weight = (data: Float32Array, [outputs, inner]: readonly [number, number]): JaxArray => (wide ? array(data, [outputs, inner]) : array(transposed(data, outputs, inner), [inner, outputs]));
  const multiply = (x: JaxArray, w: JaxArray): JaxArray => np.matmul(x, wide ? np.transpose(w) : w);
  const x = activations(c);
  if (c.kind === 'product') return { call: multiply, fixed: [weight(productWeight(c), [c.outputs, c.inner])], rows: x, shape: [c.rows, c.inner], upload: false };
  if (c.kind === 'attention') {
    const width = c.heads * c.headDim, shape = [c.length, c.heads, c.headDim];
    return {
      call: (q, k, v) => nn.dotProductAttention(q, k!, v!, { isCausal: true }).reshape([c.length, width]),
      fixed: [array(shifted(x, width, shifts.keys), shape), array(shifted(x, width, shifts.values), shape)], rows: x, shape, upload: false,
    };
  }
  return layer(c, variant.startsWith('split'), { array, weight, multiply });
}

interface Tools { readonly array: (data: Float32Array, shape: readonly number[]) => JaxArray; readonly weight: (data: Float32Array, shape: readonly [number, number]) => JaxArray; readonly multiply: (x: JaxArray, w: JaxArray) => JaxArray }

function layer(c: LayerCase, split: boolean, { array, weight, multiply }: Tools): Built {
  const { numpy: np, nn } = jax, { hidden, heads, kvHeads, headDim } = c.widths, half = headDim / 2, decode = c.step === 'decode';
  const w = layerWeights(c), shapes = layerShapes(c.widths), x = activations(c), length = c.visual + c.text, rows = decode ? 1 : length, first = decode ? length : 0, q = heads * headDim;
  const names = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'] as const satisfies (keyof LayerWeights)[];
  const angles = rotary(length + 1, headDim), part = (a: Float32Array): JaxArray => array(a.slice(first * half, (first + rows) * half), [rows, 1, half]);
  const fixed = [...names.map((n) => weight(w[n], shapes[n])), array(w.inputNorm, [hidden]), array(w.outputNorm, [hidden]), part(angles.cos), part(angles.sin)];
  const queries = split ? c.text : rows, masked = !decode;
  if (masked) fixed.push(array(bias(c, split ? c.visual : 0, queries), [1, queries, length]));
  else {
    const cache = keysAndValues(c, length), flat = (rows: readonly Float64Array[]): Float32Array => Float32Array.from(rows.flatMap((r) => Array.from(r)));
    fixed.push(array(flat(cache.keys), [length, kvHeads, headDim]), array(flat(cache.values), [length, kvHeads, headDim]));
  }
  const rms = (y: JaxArray, gain: JaxArray): JaxArray => {
    const dtype = y.dtype, scale = np.reciprocal(np.sqrt(np.mean(np.square(y.ref.astype(np.float32)), -1, { keepdims: true }).add(normEpsilon))).astype(dtype);
    return y.mul(scale).mul(gain);
  };
  /** `[rows, heads, headDim]`, turned. */
  const turn = (y: JaxArray, cos: JaxArray, sin: JaxArray): JaxArray => {
    const [a, b] = np.split(y, 2, -1) as [JaxArray, JaxArray];
    return np.concatenate([a.ref.mul(cos.ref).sub(b.ref.mul(sin.ref)), b.mul(cos).add(a.mul(sin))], -1);
  };
  const call: Built['call'] = (h, ...[wq, wk, wv, wo, gate, up, down, g1, g2, cos, sin, ...rest]) => {
    const n = rms(h.ref, g1!);
    /** The text rows alone, where image rows attend to nobody else. */
    const later = (y: JaxArray): JaxArray => {
      if (!split) return y;
      const [image, text] = np.split(y, [c.visual], 0) as [JaxArray, JaxArray];
      image.dispose();
      return text;
    };
    let keys = turn(multiply(n.ref, wk!).reshape([rows, kvHeads, headDim]), cos!.ref, sin!.ref), values = multiply(n.ref, wv!).reshape([rows, kvHeads, headDim]);
    const own = split ? values.ref : undefined;
    if (!masked) { keys = np.concatenate([rest[0]!, keys], 0); values = np.concatenate([rest[1]!, values], 0); }
    const turned = turn(multiply(later(n), wq!).reshape([queries, heads, headDim]), later(cos!), later(sin!));
    let mixed = nn.dotProductAttention(turned, keys, values, masked ? { bias: rest[0]! } : {}).reshape([queries, q]);
    if (own) {
      const [image, text] = np.split(own, [c.visual], 0) as [JaxArray, JaxArray];
      text.dispose();
      mixed = np.concatenate([np.repeat(image, heads / kvHeads, 1).reshape([c.visual, q]), mixed], 0);
    }
    const y = h.add(multiply(mixed, wo!)), m = rms(y.ref, g2!);
    return y.add(multiply(nn.silu(multiply(m.ref, gate!)).mul(multiply(m, up!)), down!));
  };
  return { call, fixed, rows: x.slice(first * hidden, (first + rows) * hidden), shape: [rows, hidden], upload: true };
}

async function prepare(c: Case, variant: string): Promise<Ready> {
  const { numpy: np } = jax, b = build(c, variant), call = jax.jit(b.call), half = c.precision === 'f16';
  const given = (): JaxArray => { const a = np.array(b.rows as Float32Array<ArrayBuffer>, { shape: b.shape }); return half ? a.astype(np.float16) : a; };
  const resident = b.upload ? undefined : given();
  let last: JaxArray | undefined;
  return {
    run: async (times) => {
      for (let i = 0; i < times; i++) {
        last?.dispose();
        last = call(resident?.ref ?? given(), ...b.fixed.map((f) => f.ref)) as JaxArray;
        // Nothing is sent to the device before somebody waits for it.
        if (i === times - 1) await last.blockUntilReady(); else await last.ref.gpuBuffer();
      }
      check();
    },
    rows: async (rows) => {
      const all = await last!.ref.astype(np.float32).data(), width = all.length / last!.shape[0]!;
      return Float64Array.from(rows.flatMap((r) => Array.from(all.subarray(r * width, (r + 1) * width))));
    },
    release: () => { last?.dispose(); resident?.dispose(); for (const f of b.fixed) f.dispose(); call.dispose(); },
  };
}

/** jax-js maps over iterators, which Node has since version 22. */
function iteratorHelpers(): void {
  const prototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as object;
  if ('map' in prototype) return;
  const define = (name: string, value: (this: Iterable<unknown>, f: (x: unknown) => unknown) => unknown): void => { Object.defineProperty(prototype, name, { value, configurable: true, writable: true }); };
  define('map', function* (f) { for (const x of this) yield f(x); });
  define('filter', function* (f) { for (const x of this) if (f(x)) yield x; });
  define('toArray', function () { return [...this]; });
  define('some', function (f) { return [...this].some(f); });
  define('every', function (f) { return [...this].every(f); });
  define('forEach', function (f) { [...this].forEach(f); });
}

const runner: Runner = {
  async open() {
    iteratorHelpers();
    const found = await browserGlobals();
    jax = await import('@jax-js/jax');
    await jax.init('webgpu');
    jax.defaultDevice('webgpu');
    check = watch(jax.getWebGPUDevice());
    return {
      versions: { '@jax-js/jax': versionOf('@jax-js/jax') }, adapter: found.name, toggles: found.toggles, half: found.adapter.features.has('shader-f16'),
      notes: 'one jitted function a case; weights, cache and results stay on the device; layers upload their rows in each call; until blockUntilReady',
    };
  },
  variants: (c) => (c.kind === 'attention' ? ['dotProductAttention, isCausal'] : (c.kind === 'layer' && c.mask === 'composite' ? ['split by hand', 'dense bias'] : [c.kind === 'layer' ? 'dotProductAttention' : 'matmul']).flatMap((v) => [`${v}, ${inOut}`, `${v}, ${outIn}`])),
  prepare,
};
serve(runner);
