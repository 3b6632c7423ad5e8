/** What a workgroup leaves behind: results, or the partial results of its split for the merge kernel. */
import { recordElements } from './attention.ts';
import type { TileContext } from './attention-context.ts';
import { range } from './printer.ts';

export function results(x: TileContext): string {
  if (!x.scratch) return finished(x);
  if (!x.out) return partial(x);
  return `  if (splits == 1u) {\n${finished(x)}\n  } else {\n${partial(x)}\n  }`;
}

const column = (x: TileContext, c: number): string => {
  const vector = c ? `(channel + ${c * x.tile.channelLanes}u)` : 'channel';
  return x.w > 1 ? `${vector} * ${x.w}u` : vector;
};
/** For every row of the invocation that is an entry of the query: `row`, `head`, and the sum of its weights. */
const forRows = (x: TileContext, body: (r: number) => string): string => x.rows.map((r) => {
  const lanes = x.tile.softmaxLanes;
  const sum = lanes === 1 ? `total[${x.row(r)}]` : range(lanes).map((i) => `total[(${x.row(r)}) * ${lanes}u + ${i}u]`).join(' + ');
  return `  {
    let entry = first + ${x.row(r)};
    if (entry < entries) {
      let row = ${x.entryRow('entry')};
      let head = ${x.entryHead('entry')};
      let sum = ${sum};
      ${body(r)}
    }
  }`;
}).join('\n');

/** A row that may read nothing has the sum 0 and gives 0. */
function finished(x: TileContext): string {
  const out = x.out!;
  return forRows(x, (r) => `let norm = select(0.0, 1.0, sum > 0.0) / max(sum, 1e-30);
      ${x.channels.map((c) => x.guarded(c, [`let y${c} = o${r}_${c} * norm;`, ...out.store(out.element('row', `head * ${x.spec.valueDim}u + ${column(x, c)}`), `y${c}`, x.w)])).join('\n      ')}`);
}

/** Record of (split, row, head): the weighted sum, then maximum and sum of weights. */
function partial(x: TileContext): string {
  const scratch = x.scratch!, { spec, w } = x, record = recordElements(x.shape);
  const put = (at: string, value: string, width: typeof w): string => scratch.store(scratch.element('0u', `to + ${at}`), value, width).join(' ');
  return forRows(x, (r) => `let to = ((group.z * count + row) * ${spec.heads}u + head) * ${record}u;
      ${x.channels.map((c) => x.guarded(c, [put(column(x, c), `o${r}_${c}`, w)])).join('\n      ')}
      if (channel == 0u) {
        ${w === 1 ? `${put(`${spec.valueDim}u`, `highest[${x.row(r)}]`, 1)} ${put(`${spec.valueDim + 1}u`, 'sum', 1)}`
          : `let state = ${x.type}(highest[${x.row(r)}], sum${', 0.0'.repeat(w - 2)}); ${put(`${spec.valueDim}u`, 'state', w)}`}
      }`);
}
