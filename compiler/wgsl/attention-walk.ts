/**
 * The walk of a workgroup over the keys: spans, blocks inside each, and what the mask says of them. Everything in here
 * is uniform in the workgroup (it is computed from read-only row data, spans and dims), so barriers may stand inside.
 */
import { rowDataAt, spanCount } from './attention-context.ts';
import type { AttentionContext } from './attention-context.ts';
import type { AttentionSpec } from './attention.ts';
import { blockAll, blockNone, maskBlockWgsl, maskPredicateWgsl } from './mask.ts';

/** `splits`, where keys are split; workgroups that no split is left for end here. */
export const beginSplits = ({ schedule, fixedSplits }: AttentionContext): string => (schedule.splits === 1 ? '' : fixedSplits === undefined ? `
  let splits = clamp(${schedule.splitRows}u / max(count, 1u), 1u, ${schedule.splits}u);
  if (group.z >= splits) { return; }` : `
  let splits = ${fixedSplits}u;`);

/** By which position queries are turned back for the keys of a span: its image's origin where those are relative. */
export const spanOrigin = ({ spec }: AttentionContext): string => `select(0i, at.z, ${spec.relative!.kinds.map((n) => `place.z == ${n}i`).join(' || ') || 'false'})`;

/** `qlo`, `qhi`: bounds of the tokens of the query block. Nothing if the mask is never asked. */
export function queryBounds(x: AttentionContext): string {
  if (!x.facts.expr) return '';
  return `
  let last_row = ${x.entryRow(`min(first + ${x.tile.rows}u, entries) - 1u`)};
  var qlo = ${rowDataAt(x, x.entryRow('first'))};
  var qhi = qlo;
  for (var row = ${x.entryRow('first')} + 1u; row <= last_row; row++) {
    let token = ${rowDataAt(x, 'row')};
    qlo = min(qlo, token);
    qhi = max(qhi, token);
  }`;
}

/**
 * The loops around `block`, which may use `slot` and `value_slot` (rows of the span's first key and value), `begin` and `n` (the block's keys are
 * begin … begin+n-1 of the span), `place` and `at` (the span), and `ask`, where there is a predicate (what the mask says
 * of the block). `enter` runs for every span that is not passed over.
 *
 * Spans hold (slot, count, kind, image), (position, index, origin, 0).
 */
export function walkKeys(x: AttentionContext, enter: string, block: string): string {
  const { spec, tile, schedule, facts, memory } = x, { expr } = facts, split = schedule.splits > 1, step = split ? `splits * ${tile.keys}u` : `${tile.keys}u`;
  const spans = memory.entries('spans', spec.spans, 'vec4<i32>');
  const isKind = (list: readonly number[]): string => list.map((n) => `place.z == ${n}i`).join(' || ') || 'false';
  if (expr) {
    memory.helper('mask_block', maskBlockWgsl(expr, 'mask_block'));
    memory.helper('mask_allows', maskPredicateWgsl(expr, 'mask_allows'));
  }
  const shifted = (shift: AttentionSpec['keyShift']): string => Object.entries(shift ?? {}).filter(([, by]) => !by.isZero)
    .reduce((slot, [name, by]) => `select(${slot}, u32(place.x) + ${memory.poly(by)}, place.z == ${spec.sequence.kinds.findIndex((s) => s.name === name)}i)`, 'u32(place.x)');
  return `${split ? '  var dealt = 0u; // blocks are dealt to the splits in turn, so that skipped ones balance\n' : ''}  for (var span = 0u; span < ${spanCount(x)}; span++) {
    let place = ${spans}[2u * span];
    let at = ${spans}[2u * span + 1u];${facts.readsEveryKind ? '' : `
    if (!(${isKind(facts.read)})) { continue; }`}
    let length = u32(place.y);
    let slot = ${shifted(spec.keyShift)};
    let value_slot = ${shifted(spec.valueShift)};${split ? `
    let offset = (group.z + splits - dealt % splits) % splits * ${tile.keys}u;
    dealt += (length + ${tile.keys - 1}u) / ${tile.keys}u;` : ''}${expr ? `
    var whole = mask_block(qlo, qhi, vec4<i32>(at.x, place.z, at.y, place.w), vec4<i32>(at.x + place.y - 1, place.z, at.y + place.y - 1, place.w));${facts.whole.length ? `
    if (${isKind(facts.whole)}) { whole = ${blockAll}u; }` : ''}
    if (whole == ${blockNone}u || length == 0u) { continue; }` : ''}
    ${enter}
    for (var begin = ${split ? 'offset' : '0u'}; begin < length; begin += ${step}) {${expr ? `
      var ask = whole;
      // A loop of its own passes over blocks: some drivers run the rest of a body with all lanes masked after \`continue\`.
      while (whole != ${blockAll}u) {
        let near = vec2<i32>(at.x, at.y) + i32(begin);
        let far = near + min(${tile.keys}i, place.y - i32(begin)) - 1;
        ask = mask_block(qlo, qhi, vec4<i32>(near.x, place.z, near.y, place.w), vec4<i32>(far.x, place.z, far.y, place.w));
        if (ask != ${blockNone}u || length - begin <= ${step}) { break; }
        begin += ${step};
      }
      if (ask == ${blockNone}u) { break; }` : ''}
      let n = min(${tile.keys}u, length - begin);
${block}
    }
  }`;
}
