/**
 * The walk of a workgroup over the keys: spans, blocks inside each, and what the mask says of them. Everything in here
 * is uniform in the workgroup (it is computed from read-only row data, spans and dims), so barriers may stand inside.
 */
import { Poly } from '../ir/poly.ts';
import type { AttentionWork } from './attention.ts';
import type { MaskFacts } from './attention-mask.ts';
import { blockAll, blockNone, maskBlockWgsl, maskPredicateWgsl } from './mask.ts';
import type { Memory } from './printer.ts';

export interface Walk {
  /** Before the walk: `qlo`, `qhi`, which bound the tokens of the query block. */
  readonly bounds: string;
  /**
   * The loops around `block`, which may use `slot` (row of the span's first key), `begin` and `n` (the block's keys are
   * begin … begin+n-1 of the span), `place` and `at` (the span), and `ask` (whether the predicate must be asked).
   * `enter` runs once for every span that is not passed over.
   */
  loops(enter: string, block: string): string;
}

/** Spans hold (slot, count, kind, image), (position, index, origin, 0). */
export function walk(work: AttentionWork, facts: MaskFacts, memory: Memory): Walk {
  const { spec, tile, schedule } = work, { expr } = facts;
  const spans = memory.entries('spans', spec.spans, 'vec4<i32>'), spanCount = memory.poly(Poly.dim(`spans_${spec.sequence.name}`));
  const isKind = (list: readonly number[]): string => list.map((n) => `place.z == ${n}i`).join(' || ') || 'false';
  if (expr) {
    memory.helper('mask_block', maskBlockWgsl(expr, 'mask_block'));
    memory.helper('mask_allows', maskPredicateWgsl(expr, 'mask_allows'));
  }
  const shifts = Object.entries(spec.keyShift ?? {}).filter(([, p]) => !p.isZero).map(([name, p]) => ({ number: spec.sequence.kinds.findIndex((s) => s.name === name), by: memory.poly(p) }));
  const shifted = shifts.reduce((slot, s) => `select(${slot}, u32(place.x) + ${s.by}, place.z == ${s.number}i)`, 'u32(place.x)');

  const rows = expr ? memory.entries('rows', spec.rows, 'vec4<i32>') : '';
  const rowData = (row: string): string => `${rows}[${spec.qRowData.isZero ? row : `${memory.poly(spec.qRowData)} + ${row}`}]`;
  const bounds = !expr ? '' : `
  let last_row = (min(first + ${tile.rows}u, entries) - 1u) / ${tile.headsPerGroup}u;
  var qlo = ${rowData(`first / ${tile.headsPerGroup}u`)};
  var qhi = qlo;
  for (var row = first / ${tile.headsPerGroup}u + 1u; row <= last_row; row++) {
    let token = ${rowData('row')};
    qlo = min(qlo, token);
    qhi = max(qhi, token);
  }`;

  const split = schedule.splits > 1;
  const whole = isKind(facts.whole);
  const loops = (enter: string, block: string): string => `
  ${split ? 'var dealt = 0u; // blocks are dealt to the splits in turn, so that skipped ones balance' : ''}
  for (var span = 0u; span < ${spanCount}; span++) {
    let place = ${spans}[2u * span];
    let at = ${spans}[2u * span + 1u];
    ${facts.readsEveryKind ? '' : `if (!(${isKind(facts.read)})) { continue; }`}
    let length = u32(place.y);
    let slot = ${shifted};
    ${split ? `let begin0 = (group.z + splits - dealt % splits) % splits * ${tile.keys}u;
    dealt += (length + ${tile.keys - 1}u) / ${tile.keys}u;` : 'let begin0 = 0u;'}
    ${expr ? `let klo = vec4<i32>(at.x, place.z, at.y, place.w);
    var whole = mask_block(qlo, qhi, klo, vec4<i32>(at.x + place.y - 1, place.z, at.y + place.y - 1, place.w));
    ${facts.whole.length ? `if (${whole}) { whole = ${blockAll}u; }` : ''}
    if (whole == ${blockNone}u || length == 0u) { continue; }` : ''}
    ${enter}
    for (var begin = begin0; begin < length; begin += ${split ? `splits * ${tile.keys}u` : `${tile.keys}u`}) {
      let n = min(${tile.keys}u, length - begin);
      ${expr ? `var ask = whole;
      if (whole != ${blockAll}u) {
        let near = vec2<i32>(at.x, at.y) + i32(begin);
        let far = near + i32(n) - 1;
        ask = mask_block(qlo, qhi, vec4<i32>(near.x, place.z, near.y, place.w), vec4<i32>(far.x, place.z, far.y, place.w));
      }
      if (ask == ${blockNone}u) { continue; }` : ''}
${block}
    }
  }`;
  return { bounds, loops };
}
