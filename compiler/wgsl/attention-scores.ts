/**
 * Scores of one key block: every invocation multiplies its rows with its keys, writes what it got to workgroup memory,
 * and strikes out what the mask excludes.
 */
import { excluded } from './attention-context.ts';
import type { TileContext } from './attention-tile-context.ts';
import { blockSome } from './mask.ts';

export function scores(x: TileContext): string {
  const { schedule, facts, rows, keys } = x;
  return `
      ${rows.map((r) => keys.map((j) => `var s${r}_${j} = 0.0;`).join(' ')).join('\n      ')}
${schedule.staged ? stagedProducts(x) : directProducts(x)}
      ${rows.map((r) => keys.map((j) => `${x.score(x.key(j), x.row(r))} = s${r}_${j};`).join(' ')).join('\n      ')}${facts.expr ? predicate(x) : ''}
      workgroupBarrier();`;
}

/** One step of the products: vector `at` of the head, of all rows and keys of the invocation. */
function products({ tile, w, rows, keys, row }: TileContext, key: (j: number) => string, at: string): string {
  const dot = (a: string, b: string): string => (w === 1 ? `${a} * ${b}` : `dot(${a}, ${b})`);
  return [
    ...keys.map((j) => `let k${j} = ${key(j)};`),
    ...rows.map((r) => `{ let x = query[(${row(r)}) * ${tile.headVectors}u + ${at}]; ${keys.map((j) => `s${r}_${j} += ${dot('x', `k${j}`)};`).join(' ')} }`),
  ].join('\n        ');
}

/** Keys are read where they lie. Beyond the end of the block the last key stands in; nobody reads its scores. */
function directProducts(x: TileContext): string {
  const { k, keys } = x;
  return `      workgroupBarrier();
      ${keys.map((j) => `let key${j} = ${k.start(`(slot + begin + min(${x.key(j)}, n - 1u))`, 'kv_head')};`).join('\n      ')}
      for (var e = 0u; e < ${x.headEnd}; e++) {
        ${products(x, (j) => k.load(`key${j}`, 'e'), 'e')}
      }`;
}

/** Keys come into workgroup memory, some vectors of all heads at a time. */
function stagedProducts(x: TileContext): string {
  const { tile, k, schedule } = x, { keyChunk, headVectors } = tile;
  const chunk = schedule.rolled || headVectors % keyChunk ? `min(${keyChunk}u, ${x.headEnd} - e0)` : `${keyChunk}u`;
  return `      for (var e0 = 0u; e0 < ${headVectors}u; e0 += ${keyChunk}u) {
        workgroupBarrier();
        for (var i = t; i < ${tile.keys * keyChunk}u; i += ${tile.invocations}u) {
          let key = i / ${keyChunk}u;
          let e = i % ${keyChunk}u;
          let start = ${k.start('(slot + begin + min(key, n - 1u))', 'kv_head')};
          staging[key * ${keyChunk + 1}u + e] = ${k.load('start', `min(e0 + e, ${headVectors - 1}u)`)};
        }
        workgroupBarrier();
        let chunk = ${chunk};
        for (var e = 0u; e < chunk; e++) {
        ${products(x, (j) => `staging[(${x.key(j)}) * ${keyChunk + 1}u + e]`, 'e0 + e')}
        }
      }`;
}

/** Every invocation asks the predicate about the scores that it wrote itself. */
function predicate(x: TileContext): string {
  const { schedule } = x;
  return `
      if (ask == ${blockSome}u) {
        for (var j = lane; j < n; j += ${schedule.lanes}u) {
          let key = vec4<i32>(at.x + i32(begin + j), place.z, at.y + i32(begin + j), place.w);
          for (var r = 0u; r < ${schedule.rowsPerThread}u; r++) {
            if (!mask_allows(tokens[${x.row('r')}], key)) { ${x.score('j', x.row('r'))} = ${excluded}; }
          }
        }
      }`;
}
