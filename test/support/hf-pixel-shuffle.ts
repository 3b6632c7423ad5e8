/** `Idefics3Connector.pixel_shuffle` (transformers, modeling_idefics3.py) on one picture, as it stands there: views and permutes. */

/** `x.view(a, b, c).permute(1, 0, 2)`, row-major. */
function swapFirstTwo(x: readonly number[], [a, b, c]: readonly [number, number, number]): number[] {
  const out: number[] = [];
  for (let j = 0; j < b; j++) for (let i = 0; i < a; i++) for (let k = 0; k < c; k++) out.push(x[(i * b + j) * c + k]!);
  return out;
}

export function hfPixelShuffle(x: readonly number[], seq: number, embedDim: number, scale: number): number[] {
  const height = Math.trunc(seq ** 0.5), width = height;
  const columns = swapFirstTwo(x, [height, width / scale, embedDim * scale]);
  return swapFirstTwo(columns, [width / scale, height / scale, embedDim * scale ** 2]);
}
