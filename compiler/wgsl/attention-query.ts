/** Queries as scores want them: scaled, and turned back by an image's origin where keys are relative. */
import type { AttentionContext } from './attention-context.ts';
import type { TileContext } from './attention-tile-context.ts';
import { floatLiteral } from './expr.ts';
import { range } from './printer.ts';

/** Factor of queries: scores come out in units of log2, for exp2. */
export const queryScale = ({ spec }: AttentionContext): string => floatLiteral(spec.scale * Math.LOG2E);

interface Turn {
  /** Statements that read the angles of the vector at element `e`, for all rows that are turned. */
  readonly angles: readonly string[];
  /** Statements that turn the vector `name`; `load` gives the row's vector at an element. */
  back(name: string, load: (e: string) => string): string[];
}

/** How the vector of a query that begins at element `e` of its head is turned back by the i32 `turned`, R(-o): (a, b) becomes (a·cos + b·sin, b·cos - a·sin). */
export function turnBack({ spec, memory, w, type: T }: AttentionContext, e: string): Turn {
  const { table, interleaved } = spec.relative!, angles = memory.entries('angles', table, 'vec2<f32>');
  const angle = (pair: string, i: number): string => `let a${i} = ${angles}[u32(turned) * ${spec.headDim / 2}u + ${pair}${i ? ` + ${i}u` : ''}];`;
  if (interleaved && w > 1) return {
    angles: range(w / 2).map((i) => angle(`${e} / 2u`, i)),
    back: (x) => [`${x} = ${T}(${range(w / 2).flatMap((i) => {
      const [a, b] = ['xyzw'[2 * i], 'xyzw'[2 * i + 1]];
      return [`${x}.${a} * a${i}.x + ${x}.${b} * a${i}.y`, `${x}.${b} * a${i}.x - ${x}.${a} * a${i}.y`];
    }).join(', ')});`],
  };
  const half = spec.headDim / 2;
  const [partner, isFirst, pair] = interleaved ? [`(${e} ^ 1u)`, `${e} % 2u == 0u`, `${e} / 2u`] : [`((${e} + ${half}u) % ${spec.headDim}u)`, `${e} < ${half}u`, `${e} % ${half}u`];
  const part = (p: string): string => `${T}(${range(w).map((i) => `a${i}.${p}`).join(', ')})`;
  return {
    angles: [`let sign = select(-1.0, 1.0, ${isFirst});`, ...range(w).map((i) => angle(pair, i))],
    back: (x, load) => [`${x} = ${x} * ${part('x')} + ${load(partner)} * (sign * ${part('y')});`],
  };
}

/**
 * Statements that fill `query` ([row of the tile][vectors of the head]) for entries from `first` on, by all invocations.
 * With relative keys the i32 `turned` says by which position to turn back.
 */
export function loadQueries(x: TileContext): string {
  const { spec, tile, q, w } = x;
  const entry = `min(first + i / ${tile.headVectors}u, entries - 1u)`;
  const load = (e: string): string => q.load(q.element('row', `head * ${spec.headDim}u + ${e}`), w);
  const lines = [`let row = ${x.entryRow(entry)};`, `let head = ${x.entryHead(entry)};`, `let e = i % ${tile.headVectors}u * ${w}u;`, `var x = ${load('e')};`];
  if (spec.relative) {
    const turn = turnBack(x, 'e');
    lines.push('if (turned > 0) {', ...[...turn.angles, ...turn.back('x', load)].map((line) => `  ${line}`), '}');
  }
  return `for (var i = t; i < ${tile.rows * tile.headVectors}u; i += ${tile.invocations}u) {
      ${lines.join('\n      ')}
      query[i] = x * ${queryScale(x)};
    }`;
}
