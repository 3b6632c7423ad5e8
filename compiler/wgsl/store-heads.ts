/**
 * Rows quantised on their way into a state, head by head (compiler/ir/state-format.ts).
 *
 * Tile: one row and two heads of one of the values a workgroup, since two scales share a word; 16 invocations a head. Each looks
 * through its part of the head, all agree on the largest element, and each writes the words of its part. Values that are
 * stored together (keys and values of a layer) have heads of one number and one size.
 * Preconditions: values and states are different buffers; at most 65,535 rows.
 */
import type { Int8Heads } from '../ir/state-format.ts';
import { headWords, heldRowWords } from '../ir/state-format.ts';
import type { Poly } from '../ir/poly.ts';
import type { HeldView, Kernel, View } from './kernel.ts';
import type { KernelOptions } from './printer.ts';
import { Memory, range, slotOf } from './printer.ts';

export interface StoreHeadsSpec {
  readonly rows: Poly;
  readonly values: readonly { readonly from: View; readonly to: HeldView & { readonly storage: Int8Heads } }[];
}

const lanes = 16;
/** `headScale` of compiler/ir/state-format.ts, as the bits of an f16: `pack2x16float` may round either way. */
const scaleBits = `fn scale_bits(most: f32) -> u32 {
  let want = clamp(most / 127.0, 6.103515625e-05, 65504.0);
  let near = pack2x16float(vec2<f32>(want, 0.0)) & 0xffffu;
  return near + select(0u, 1u, unpack2x16float(near).x < want);
}`;

export function storeHeadsKernel({ rows, values }: StoreHeadsSpec, options: KernelOptions): Kernel {
  const [{ to: { storage: format, stride } }] = values as [StoreHeadsSpec['values'][number]], d = stride / format.heads, per = headWords(format, stride);
  if (values.some(({ to }) => to.stride !== stride || to.storage.heads !== format.heads)) throw new RangeError('Values that are stored together must have heads of one number and one size.');
  const memory = new Memory(options);
  // Every access is declared before the first is printed.
  const accesses = values.map(({ from, to }, i) => ({ to, x: memory.view(`x${i}`, from, d % 4 ? 1 : 4), state: memory.entries(`state${i}`, to.binding, 'u32', true) }));
  memory.helper('scale_bits', scaleBits);
  memory.helper('largest', `var<workgroup> largest: array<f32, ${2 * lanes}>;`);
  const most = (name: string, first: string): string => `var ${name} = 0.0;
  for (var i = 0u; i < ${lanes}u; i++) { ${name} = max(${name}, largest[${first} + i]); }`;
  const store = ({ to, x, state }: (typeof accesses)[number], number: number): string => {
    const element = (i: number): string => `select(0.0, ${x.load(`start + min(4u * word + ${i}u, ${d - 1}u)`, 1)}, 4u * word + ${i}u < ${d}u)`;
    const four = d % 4 ? `vec4<f32>(${range(4).map(element).join(', ')})` : x.load('start + 4u * word', 4);
    const words = (body: string): string => `if (head < ${format.heads}u) {
    let start = ${x.element('row', `head * ${d}u`)};
    for (var word = t % ${lanes}u; word < ${per}u; word += ${lanes}u) {
      let x = ${four};
      ${body}
    }
  }`;
    return `
fn store${number}(pair: u32, row: u32, t: u32) {
  let head = 2u * pair + t / ${lanes}u;
  let base = (${slotOf(memory, to, 'row')}) * ${heldRowWords(format, stride)}u;
  var seen = 0.0;
  ${words('seen = max(seen, max(max(abs(x.x), abs(x.y)), max(abs(x.z), abs(x.w))));')}
  largest[t] = seen;
  workgroupBarrier();
  ${most('most', `t / ${lanes}u * ${lanes}u`)}
  let scale = unpack2x16float(scale_bits(most)).x;
  ${words(`let code = bitcast<vec4<u32>>(vec4<i32>(clamp(round(x / scale), vec4<f32>(-127.0), vec4<f32>(127.0)))) & vec4<u32>(255u);
      ${state}[base + head * ${per}u + word] = code.x | (code.y << 8u) | (code.z << 16u) | (code.w << 24u);`)}
  if (t == 0u) {
    ${most('second', `${lanes}u`)}
    ${state}[base + ${format.heads * per}u + pair] = scale_bits(most) | (scale_bits(second) << 16u);
  }
}`;
  };
  const stores = accesses.map(store).join('');
  const body = `${stores}

@compute @workgroup_size(${2 * lanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  switch group.z {
    ${values.map((_, i) => `${i + 1 < values.length ? `case ${i}u:` : 'default:'} { store${i}(group.x, group.y, t); }`).join('\n    ')}
  }
}
`;
  return {
    family: 'store', wgsl: `// a row and two heads of ${d} a workgroup\n${memory.head()}${body}`, bindings: memory.bindings(), workgroup: [2 * lanes, 1, 1], features: memory.features(),
    grid: [Math.ceil(format.heads / 2), { ceil: rows, by: 1 }, values.length],
  };
}
