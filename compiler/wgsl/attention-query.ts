/** How the query block comes into workgroup memory: scaled, and turned back by an image's origin where keys are relative. */
import type { TileContext } from './attention-context.ts';
import { floatLiteral } from './expr.ts';
import { range } from './printer.ts';

/**
 * Statements that fill `query` ([row of the tile][vectors of the head]) for entries from `first` on, by all invocations.
 * Scores come out in units of log2, for exp2. With relative keys the i32 `turned` says by which position to turn back.
 */
export function loadQueries(x: TileContext): string {
  const { spec, tile, memory, q, w, type: T } = x;
  const entry = `min(first + i / ${tile.headVectors}u, entries - 1u)`;
  const { relative } = spec, half = tile.headVectors / 2;
  const element = (e: string): string => q.element('row', `head * ${spec.headDim}u + ${e}`);
  const lines = [`let row = ${x.entryRow(entry)};`, `let head = ${x.entryHead(entry)};`, `let e = i % ${tile.headVectors}u * ${w}u;`, `var x = ${q.load(element('e'), w)};`];
  if (relative) {
    const angles = memory.entries('angles', relative.table, 'vec2<f32>');
    const angle = (pair: string, i: number): string => `${angles}[u32(turned) * ${spec.headDim / 2}u + ${pair}${i ? ` + ${i}u` : ''}]`;
    // R(-o): (a, b) becomes (a·cos + b·sin, b·cos - a·sin).
    lines.push('if (turned > 0) {');
    if (relative.interleaved && w > 1) {
      lines.push(...range(w / 2).map((i) => `  let a${i} = ${angle('e / 2u', i)};`));
      lines.push(`  x = ${T}(${range(w / 2).flatMap((i) => {
        const [a, b] = ['xyzw'[2 * i], 'xyzw'[2 * i + 1]];
        return [`x.${a} * a${i}.x + x.${b} * a${i}.y`, `x.${b} * a${i}.x - x.${a} * a${i}.y`];
      }).join(', ')});`);
    } else {
      const [partner, isFirst, pair] = relative.interleaved
        ? ['(e ^ 1u)', 'e % 2u == 0u', 'e / 2u']
        : [`((e + ${spec.headDim / 2}u) % ${spec.headDim}u)`, `i % ${tile.headVectors}u < ${half}u`, `e % ${spec.headDim / 2}u`];
      lines.push(`  let partner = ${q.load(element(partner), w)};`, `  let sign = select(-1.0, 1.0, ${isFirst});`);
      lines.push(...range(w).map((i) => `  let a${i} = ${angle(pair, i)};`));
      const part = (p: string): string => `${T}(${range(w).map((i) => `a${i}.${p}`).join(', ')})`;
      lines.push(`  x = x * ${part('x')} + partner * (sign * ${part('y')});`);
    }
    lines.push('}');
  }
  return `for (var i = t; i < ${tile.rows * tile.headVectors}u; i += ${tile.invocations}u) {
      ${lines.join('\n      ')}
      query[i] = x * ${floatLiteral(spec.scale * Math.LOG2E)};
    }`;
}
