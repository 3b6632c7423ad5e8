/**
 * Subgroup matrices where no adapter has them: the kernel's text with matrices as arrays, which every invocation of a
 * subgroup computes whole. Numbers, panels, turns and epilogues are the kernel's own; only the four matrix functions differ.
 */
import type { SubgroupMatrixSchedule } from '../../compiler/schedule/subgroup-matrix.ts';
import type { Kernel } from '../../compiler/wgsl/kernel.ts';

/** `size`: invocations of a subgroup. Without `f16`, panels are f32. */
export function emulateMatrices(kernel: Kernel, { M, N, K, component }: SubgroupMatrixSchedule, size: number, f16: boolean): Kernel {
  const C = component === 'f16' && f16 ? 'f16' : 'f32';
  const wgsl = kernel.wgsl
    .replace(/^(enable subgroups;|enable chromium.*;|diagnostic.*;)\n/gm, '')
    .replace(', @builtin(subgroup_size) subgroup_size: u32', '').replaceAll('subgroup_size', `${size}u`)
    .replaceAll(/subgroup_matrix_result<f32, \d+, \d+>/g, `array<f32, ${M * N}>`)
    .replaceAll(/subgroupMatrixLoad<subgroup_matrix_(left|right)<\w+, \d+, \d+>, (?:row|col)_major>\(&\w+, /g, (_all, side: string) => `load_${side}(`)
    .replaceAll('subgroupMatrixMultiplyAccumulate', 'multiply').replaceAll('subgroupMatrixStore<row_major>(&sums, ', 'store(');
  const plain = C === 'f16' ? wgsl : wgsl.replace('enable f16;\n', '').replaceAll('f16', 'f32');
  const helpers = `fn load_left(offset: u32, stride: u32) -> array<f32, ${M * K}> {
  var x = array<f32, ${M * K}>();
  for (var m = 0u; m < ${M}u; m++) { for (var k = 0u; k < ${K}u; k++) { x[m * ${K}u + k] = f32(panel_a[offset + m * stride + k]); } }
  return x;
}
fn load_right(offset: u32, stride: u32) -> array<f32, ${K * N}> {
  var x = array<f32, ${K * N}>();
  for (var n = 0u; n < ${N}u; n++) { for (var k = 0u; k < ${K}u; k++) { x[k * ${N}u + n] = f32(panel_w[offset + n * stride + k]); } }
  return x;
}
fn multiply(left: array<f32, ${M * K}>, right: array<f32, ${K * N}>, sum: array<f32, ${M * N}>) -> array<f32, ${M * N}> {
  var l = left; var r = right; var x = sum;
  for (var m = 0u; m < ${M}u; m++) { for (var n = 0u; n < ${N}u; n++) { for (var k = 0u; k < ${K}u; k++) { x[m * ${N}u + n] += l[m * ${K}u + k] * r[k * ${N}u + n]; } } }
  return x;
}
fn store(offset: u32, sum: array<f32, ${M * N}>, stride: u32) {
  var x = sum;
  for (var m = 0u; m < ${M}u; m++) { for (var n = 0u; n < ${N}u; n++) { sums[offset + m * stride + n] = x[m * ${N}u + n]; } }
}
`;
  return { ...kernel, wgsl: plain.replace('@compute', `${helpers}@compute`), features: C === 'f16' ? ['shader-f16'] : [] };
}
