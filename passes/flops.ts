/**
 * FLOPs of a model's graph under a convention: the graph goes through the passes that drop what nobody reads, baseline
 * and variant alike, and its ops are counted.
 */
import type { Convention } from '../compiler/cost/conventions.ts';
import { conventions } from '../compiler/cost/conventions.ts';
import type { Cost } from '../compiler/cost/formula.ts';
import { CostFormula } from '../compiler/cost/formula.ts';
import { isPerImage } from '../compiler/cost/pairs.ts';
import { partOf, viewed } from '../compiler/cost/parts.ts';
import { settled } from '../compiler/cost/settle.ts';
import { GraphBuilder } from '../compiler/ir/builder.ts';
import { UserError } from '../compiler/ir/errors.ts';
import type { Graph, Node } from '../compiler/ir/graph.ts';
import { countUses, isLeaf } from '../compiler/ir/graph.ts';
import { restrictRows } from '../compiler/ir/rows.ts';
import { suggest } from '../compiler/ir/spelling.ts';
import { constants } from './constants.ts';
import { cse } from './cse.ts';
import { deadCode } from './dead-code.ts';
import { demand } from './demand.ts';
import { maskAnalysis } from './mask-analysis.ts';
import { pruneByMask } from './prune-by-mask.ts';
import { relativeRope } from './relative-rope.ts';
import { splitBy } from './split-kept.ts';
import { zeroRows } from './zero-rows.ts';

export function conventionNamed(name: string): Convention {
  const c = conventions[name];
  if (!c) throw new UserError(`There is no counting convention '${name}'.${suggest(name, Object.keys(conventions), 'The conventions are')}`);
  return c;
}

/** The cost of a traced model as formulas in `V`, `T` and `tiles`; to be evaluated at as many sizes as wanted. */
export const costFormula = (model: Graph, convention: Convention): CostFormula => new CostFormula(counted(model, convention), settled(convention, model));

/**
 * A traced model's graph with the work that a convention counts. `staged`: made ready to be cut into entry points as well, so
 * that keys of images depend on their image alone, and no kept rows of a prompt hang on those of an image.
 */
export function counted(model: Graph, convention: Convention, { staged = false } = {}): Graph {
  let g = convention.rows === 'written' ? keepUnread(model) : model;
  if (convention.rows !== 'read') g = keepBeforeMarks(g);
  // What runs has whole rows.
  g = splitBy(deadCode.run(g), staged ? 'whole' : convention.shares);
  for (const pass of [maskAnalysis, constants, cse, pruneByMask, zeroRows]) g = pass.run(g);
  if (convention.rows !== 'read') g = keepHandedOn(g, convention.headRows === 'all');
  for (const pass of [...(staged ? [relativeRope] : []), demand, constants, cse, deadCode]) g = pass.run(g);
  return staged ? keptApart(g, model) : g;
}

export interface FlopsOptions {
  /** Visual rows, text rows, the images that the visual rows are (one by default), and the tiles of these images (one each by default). */
  readonly visual: number;
  readonly text: number;
  readonly images?: number;
  readonly tiles?: number;
  /** `exact` by default. */
  readonly convention?: string;
}

/** FLOPs of one prefill, exactly, by part. */
export function flops(model: Graph, { visual, text, images = 1, tiles = images, convention = 'exact' }: FlopsOptions): Cost<bigint> {
  return costFormula(model, conventionNamed(convention)).at({ dims: { V: visual, T: text }, images, tiles });
}

/** Makes every value that nobody reads an output, and what is read of a picture only in part. */
function keepUnread(g: Graph): Graph {
  const uses = countUses({ ...g, nodes: g.nodes.filter((n) => !(n.op === 'rows' && isPerImage(n.type.rows))) });
  return { ...g, outputs: new Map([...g.outputs, ...g.nodes.filter((n) => !uses.has(n)).map((n, i) => [`unread ${i}`, n] as const)]) };
}

/**
 * Makes everything that one part of the model hands to another an output, so that none of its rows are trimmed: the last
 * layer's hidden state, read by the head; the tower's features. With `head`, all rows of what the head gives, too.
 */
function keepHandedOn(g: Graph, head: boolean): Graph {
  const handed = new Set<Node>();
  for (const n of g.nodes) for (const x of n.inputs) for (const v of viewed(x)) if (!isLeaf(v) && partOf(v) !== partOf(n) && viewed(n)[0] === n) handed.add(v);
  for (const n of g.outputs.values()) for (const v of viewed(n)) if (!isLeaf(v) && (head || partOf(v) !== 'head')) handed.add(v);
  return { ...g, outputs: new Map([...g.outputs, ...[...handed].map((n, i) => [`handed on ${i}`, n] as const)]) };
}

/** Makes all rows of which a mark (`keep`) lets some go on an output: the layer before it computes them all. */
function keepBeforeMarks(g: Graph): Graph {
  const before = new Set(g.nodes.flatMap((n) => (n.op === 'keep' ? viewed(n.inputs[0]!) : [])).filter((n) => !isLeaf(n)));
  return { ...g, outputs: new Map([...g.outputs, ...[...before].map((n, i) => [`handed to mark ${i}`, n] as const)]) };
}

/** Outputs that only the convention wants, kind by kind: rows that an image settles are then not asked for by the prompt. */
function keptApart(g: Graph, model: Graph): Graph {
  if ([...g.outputs.keys()].every((name) => model.outputs.has(name))) return g;
  const b = GraphBuilder.like(g);
  for (const [map, leaves] of [[b.inputs, g.inputs], [b.weights, g.weights], [b.states, g.states]] as const) for (const n of leaves.values()) b.leaf(map, n);
  b.nodes.push(...g.nodes);
  for (const [name, n] of g.outputs) {
    const { kinds } = n.type.rows!;
    if (model.outputs.has(name) || kinds.length === 1) b.output(name, n);
    else for (const kind of kinds) b.output(`${name}, ${kind}`, b.select(n, restrictRows(n.type.rows!, [kind])!));
  }
  return b.finish();
}
