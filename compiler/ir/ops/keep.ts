/** Rows that leave the model on the way: what goes on, marked by the author, and what of it a pass has made. */
import { Fraction } from '../fraction.ts';
import type { Attrs, GraphHead } from '../graph.ts';
import type { RowSet } from '../rows.ts';
import { parseRows, printRows, restrictRows, rowsWithin, sequenceKind } from '../rows.ts';
import { printType, tensorType } from '../types.ts';
import type { OpDef } from './def.ts';
import { expect, nothing, str } from './def.ts';
import { pickRows } from './rows.ts';

/** The share that a `keep` lets go on. */
export const keptShare = (attrs: Attrs): Fraction => {
  const share = Fraction.parse(str(attrs, 'share'));
  expect(!!share && share.compare(Fraction.one) < 0, () => `'share' must be a fraction of at least 0 and less than 1, such as "1/2", not '${str(attrs, 'share')}'.`);
  return share!;
};

/**
 * Of the rows of one kind a share goes on; the others leave here, and nothing that follows has them. Which rows those are is
 * data: FastV (arXiv 2403.06764) and PyramidDrop (arXiv 2410.17247) rank them by the attention of the last row. What the
 * ranking itself takes is not counted, in their papers as here. Of share 0 nothing has to be chosen, and it is a view.
 */
export const keep: OpDef = {
  name: 'keep', doc: 'A share of the rows of one kind goes on, the others leave; which ones is decided at run time.',
  arity: 1, attrs: { kind: 'text', share: 'text' },
  infer: ([x], attrs) => {
    const kind = str(attrs, 'kind'), share = keptShare(attrs);
    expect(!!x!.rows?.kinds.includes(kind) && !x!.rows.last && !x!.rows.context, () => `${printType(x!)} has no rows of kind '${kind}' of which some could go on.`);
    if (share.num) return x!;
    const rest = restrictRows(x!.rows!, x!.rows!.kinds.filter((k) => k !== kind));
    expect(!!rest, () => `none of the rows of ${printType(x!)} goes on.`);
    return tensorType(x!.dtype, rest, x!.dims);
  },
  narrow: (b, n, [x], out) => (out.kinds.includes(str(n.attrs, 'kind')) ? b.op('keep', [b.select(x!, out)], n.attrs, n) : b.select(x!, out)),
  time: (n, kind) => (kind === str(n.attrs, 'kind') ? timeOfChoice(n.type.rows!) : 'constant'),
  counts: () => ({}),
  moves: nothing,
  evaluate: (n, [x], ctx) => {
    expect(!keptShare(n.attrs).num, () => `which ${str(n.attrs, 'share')} of its '${str(n.attrs, 'kind')}' rows go on is chosen at run time, and nothing here chooses rows. Its cost can be computed.`);
    return pickRows(n.type, x!, ctx);
  },
};

const rowsAttr = (attrs: Attrs, head: GraphHead): RowSet => parseRows(head.sequences.values(), str(attrs, 'rows'));

/**
 * The rows that were chosen to go on, once their kind is cut into parts by how long its rows stay (passes/split-kept.ts). Which
 * tokens of a prompt they are is in the layout; in a real run they are gathered.
 */
export const chosen: OpDef = {
  name: 'chosen', doc: 'The parts of a kind whose rows were chosen, at run time, to go on.', arity: 1, attrs: { rows: 'rows' },
  infer: ([x], attrs, head) => {
    const rows = rowsAttr(attrs, head);
    expect(!!x!.rows && rowsWithin(rows, x!.rows), () => `${printType(x!)} has no rows '${printRows(rows)}'.`);
    return tensorType(x!.dtype, rows, x!.dims);
  },
  narrow: (b, n, [x], out) => b.op('chosen', [b.select(x!, out)], { rows: printRows(out) }, n),
  time: (n, kind) => (kind === undefined ? 'constant' : timeOfChoice(n.type.rows!)),
  counts: () => ({}),
  evaluate: (n, [x], ctx) => pickRows(n.type, x!, ctx),
};

/** Rows are chosen by what the prompt asks; in a tower, by the picture. */
const timeOfChoice = (rows: RowSet): 'prompt' | 'constant' => (rows.sequence.kinds.some((k) => !sequenceKind(rows.sequence, k.name).media) ? 'prompt' : 'constant');

export const keepOps: readonly OpDef[] = [keep, chosen];
