/** What a workgroup leaves behind: results, or the partial results of its split for the merge kernel. */
import { recordElements } from './attention.ts';
import type { AttentionContext } from './attention-context.ts';

/** The rows whose sums an invocation holds, in registers `o‹row›_‹channel vector›`. */
export interface ResultContext extends AttentionContext {
  readonly rows: readonly number[];
  /** Row `r` within the block, its sum of weights, and its maximum. */
  row(r: number): string;
  total(r: number): string;
  highest(r: number): string;
}

export function results(x: ResultContext): string {
  if (!x.scratch) return finished(x);
  if (!x.out) return partial(x);
  return `  if (splits == 1u) {\n${finished(x)}\n  } else {\n${partial(x)}\n  }`;
}

const column = (x: ResultContext, c: number): string => {
  const vector = c ? `(channel + ${c * x.tile.channelLanes}u)` : 'channel';
  return x.w > 1 ? `${vector} * ${x.w}u` : vector;
};
/** For every row of the invocation that is an entry of the query: `row`, `head`, and the sum of its weights. */
const forRows = (x: ResultContext, body: (r: number) => string): string => x.rows.map((r) => `  {
    let entry = first + ${x.row(r)};
    if (entry < entries) {
      let row = ${x.entryRow('entry')};
      let head = ${x.entryHead('entry')};
      let sum = ${x.total(r)};
      ${body(r)}
    }
  }`).join('\n');

/** A row that may read nothing has the sum 0 and gives 0. */
function finished(x: ResultContext): string {
  const out = x.out!;
  return forRows(x, (r) => `let norm = select(0.0, 1.0, sum > 0.0) / max(sum, 1e-30);
      ${x.channels.map((c) => x.guarded(c, [`let y${c} = o${r}_${c} * norm;`, ...out.store(out.element('row', `head * ${x.spec.valueDim}u + ${column(x, c)}`), `y${c}`, x.w)])).join('\n      ')}`);
}

/** Record of (split, row, head): the weighted sum, then maximum and sum of weights. */
function partial(x: ResultContext): string {
  const scratch = x.scratch!, { spec, w } = x, record = recordElements(x.shape);
  const put = (at: string, value: string, width: typeof w): string => scratch.store(scratch.element('0u', `to + ${at}`), value, width).join(' ');
  return forRows(x, (r) => `let to = ((group.z * count + row) * ${spec.heads}u + head) * ${record}u;
      ${x.channels.map((c) => x.guarded(c, [put(column(x, c), `o${r}_${c}`, w)])).join('\n      ')}
      if (channel == 0u) {
        ${w === 1 ? `${put(`${spec.valueDim}u`, x.highest(r), 1)} ${put(`${spec.valueDim + 1}u`, 'sum', 1)}`
          : `let state = ${x.type}(${x.highest(r)}, sum${', 0.0'.repeat(w - 2)}); ${put(`${spec.valueDim}u`, 'state', w)}`}
      }`);
}
