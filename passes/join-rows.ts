/**
 * Rows of one value that were taken apart and come together again.
 *
 * A step that sees an image and its prompt at once (`first`) makes keys of both kinds of row, rotates those of the image by
 * their place in it and those of text by their position, and stores them side by side. One op does for all of them what two
 * do for each kind, and can then join the product in front and the store behind.
 */
import type { GraphBuilder } from '../compiler/ir/builder.ts';
import { rewrite, sweep } from '../compiler/ir/builder.ts';
import type { Node } from '../compiler/ir/graph.ts';
import type { RowSet } from '../compiler/ir/rows.ts';
import { printRows, sequenceKind } from '../compiler/ir/rows.ts';
import type { Pass } from './pass.ts';

export const joinRows: Pass = {
  name: 'join-rows',
  proves: 'Rows that are cut from one value, treated alike and put together are the rows of that value, treated once.',
  run: (g) => sweep(rewrite(g, (n, inputs, b) => {
    if (n.op !== 'merge') return undefined;
    const rows = n.type.rows!;
    return wholeOf(b, inputs, rows) ?? turnedTogether(b, inputs, rows, n);
  })),
};

/** The one value of which the parts are rows, cut to the given rows. */
function wholeOf(b: GraphBuilder, parts: readonly Node[], rows: RowSet): Node | undefined {
  const of = parts.map((p) => (p.op === 'rows' && !p.type.rows!.last ? p.inputs[0]! : undefined));
  return of[0] && of.every((x) => x === of[0]) && of[0].type.rows!.context === rows.context ? b.select(of[0], rows) : undefined;
}

/** Rotations of rows of one value, by the place in the image and by the position of text, as one by both. */
function turnedTogether(b: GraphBuilder, parts: readonly Node[], rows: RowSet, at: Node): Node | undefined {
  const [first] = parts, attrs = JSON.stringify(first!.attrs);
  if (!parts.every((p) => p.op === 'rope' && JSON.stringify(p.attrs) === attrs && byPlace(p.inputs[1]!))) return undefined;
  const whole = wholeOf(b, parts.map((p) => p.inputs[0]!), rows);
  return whole && b.op('rope', [whole, b.op('row_number', [], { of: 'place', rows: printRows(rows) }, at)], first!.attrs, at);
}

/** True if a row's number is its place: in its image for rows of images, in the prompt for others. */
const byPlace = (n: Node): boolean => n.op === 'row_number'
  && n.type.rows!.kinds.every((k) => n.attrs['of'] === 'place' || (n.attrs['of'] === 'index') === sequenceKind(n.type.rows!.sequence, k).media);
