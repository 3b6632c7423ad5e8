/** The weighted sum of values, in registers: lanes share the channels, and value groups share the keys. */
import type { TileContext } from './attention-tile-context.ts';

const each = (x: TileContext, f: (r: number, c: number) => string): string => x.rows.map((r) => x.channels.map((c) => f(r, c)).join(' ')).join('\n      ');

export const noSums = (x: TileContext): string => each(x, (r, c) => `var o${r}_${c} = ${x.type}(${x.w === 1 ? '0.0' : ''});`);

/** Adds the values of one key block, weighted. */
export function values(x: TileContext): string {
  const { schedule, tile, v } = x, groups = schedule.valueGroups, width = tile.valueVectors;
  const firstKey = groups === 1 ? '0u' : 'value_group';
  const add = (value: (c: number) => string, key: string): string => [
    ...x.channels.map((c) => `let v${c} = ${value(c)};`),
    ...x.rows.map((r) => `{ let p = ${x.score(key, x.row(r))}; ${x.channels.map((c) => `o${r}_${c} += p * v${c};`).join(' ')} }`),
  ].join('\n          ');
  const corrected = x.rows.map((r) => `{ let c = correction[${x.row(r)}]; ${x.channels.map((c) => `o${r}_${c} *= c;`).join(' ')} }`).join('\n      ');
  if (!schedule.staged) return `
      ${corrected}
      for (var j = ${firstKey}; j < n; j += ${groups}u) {
          let start = ${v.start('(value_slot + begin + j)', 'kv_head')};
          ${add((c) => v.load('start', x.channel(c)), 'j')}
      }`;
  return `
      ${corrected}
      for (var j0 = 0u; j0 < n; j0 += ${tile.valueChunk}u) {
        let here = min(${tile.valueChunk}u, n - j0);
        workgroupBarrier();
        for (var i = t; i < here * ${width}u; i += ${tile.invocations}u) {
          let start = ${v.start(`(value_slot + begin + j0 + i / ${width}u)`, 'kv_head')};
          staging[i] = ${v.load('start', `i % ${width}u`)};
        }
        workgroupBarrier();
        for (var j = ${firstKey}; j < here; j += ${groups}u) {
          ${add((c) => `staging[j * ${width}u + ${x.channel(c)}]`, 'j0 + j')}
        }
      }`;
}

/** Brings the sums of all value groups to the first one, group after group, through the memory where the queries were. */
export function gatherSums(x: TileContext): string {
  const groups = x.schedule.valueGroups;
  if (groups === 1) return '';
  const place = (r: number, c: number): string => `query[(${x.row(r)}) * ${x.tile.valueVectors}u + ${x.channel(c)}]`;
  return `
  for (var g = 1u; g < ${groups}u; g++) {
    workgroupBarrier();
    if (value_group == g) {
      ${each(x, (r, c) => x.guarded(c, [`${place(r, c)} = o${r}_${c};`]))}
    }
    workgroupBarrier();
    if (value_group == 0u) {
      ${each(x, (r, c) => `o${r}_${c} += ${place(r, c)};`)}
    }
  }
  if (value_group > 0u) { return; }`;
}
