/** Runs printed masks on a WebGPU adapter: for random tokens and blocks, what the WGSL answers beside what JavaScript does. */
import type { MaskExpr, MaskKind, Token, TokenBlock, TokenNumbers } from '../../compiler/ir/mask/index.ts';
import { maskBlockWgsl, maskPredicateWgsl } from '../../compiler/wgsl/mask.ts';

// The flags by value: Node has no global GPUBufferUsage.
const [MAP_READ, COPY_SRC, COPY_DST, STORAGE] = [1, 4, 8, 128];

/** One pair of tokens and one pair of blocks; all masks of a shader are asked about each. */
export interface Question { readonly q: Token; readonly k: Token; readonly qs: TokenBlock; readonly ks: TokenBlock }

/** A compute shader that answers each question with 4 bits a mask: the predicate, and the block's answer times 2. */
export const shaderFor = (masks: readonly MaskExpr[]): string => `
${masks.map((e, i) => maskPredicateWgsl(e, `mask${i}`) + maskBlockWgsl(e, `block${i}`)).join('\n')}
@group(0) @binding(0) var<storage, read> questions: array<array<vec4<i32>, 6>>;
@group(0) @binding(1) var<storage, read_write> answers: array<array<u32, ${masks.length}>>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= arrayLength(&questions)) { return; }
  let x = questions[id.x];
${masks.map((_, i) => `  answers[id.x][${i}] = select(0u, 1u, mask${i}(x[0], x[1])) + 2u * block${i}(x[2], x[3], x[4], x[5]);`).join('\n')}
}`;

/** What the shader answered: `[question][mask]`. */
export const ask = async (device: GPUDevice, masks: readonly MaskExpr[], questions: readonly Question[], kinds: readonly MaskKind[]): Promise<{ allowed: boolean; block: 'none' | 'some' | 'all' }[][]> => {
  const vector = (t: TokenNumbers): number[] => [t.pos, t.kind, t.index, t.image];
  const token = (t: Token): number[] => vector({ ...t, kind: kinds.findIndex((x) => x.name === t.kind) });
  const data = new Int32Array(questions.flatMap((x) => [...token(x.q), ...token(x.k), ...vector(x.qs.lo), ...vector(x.qs.hi), ...vector(x.ks.lo), ...vector(x.ks.hi)]));
  const input = device.createBuffer({ size: data.byteLength, usage: STORAGE | COPY_DST });
  const size = questions.length * masks.length * 4;
  const output = device.createBuffer({ size, usage: STORAGE | COPY_SRC });
  const read = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
  device.queue.writeBuffer(input, 0, data);
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module: device.createShaderModule({ code: shaderFor(masks) }) } });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [input, output].map((buffer, binding) => ({ binding, resource: { buffer } })) }));
  pass.dispatchWorkgroups(Math.ceil(questions.length / 64));
  pass.end();
  encoder.copyBufferToBuffer(output, 0, read, 0, size);
  device.queue.submit([encoder.finish()]);
  await read.mapAsync(MAP_READ);
  const answers = new Uint32Array(read.getMappedRange().slice(0));
  read.unmap();
  return questions.map((_, i) => masks.map((_, j) => {
    const x = answers[i * masks.length + j]!;
    return { allowed: (x & 1) === 1, block: (['none', 'some', 'all'] as const)[x >> 1]! };
  }));
};
