/**
 * FLOPs of a model's graph under a convention: the graph goes through the passes that drop what nobody reads, baseline
 * and variant alike, and its ops are counted.
 */
import type { Convention } from '../compiler/cost/conventions.ts';
import { conventions } from '../compiler/cost/conventions.ts';
import type { Cost } from '../compiler/cost/formula.ts';
import { CostFormula } from '../compiler/cost/formula.ts';
import { partOf, viewed } from '../compiler/cost/parts.ts';
import { UserError } from '../compiler/ir/errors.ts';
import type { Graph, Node } from '../compiler/ir/graph.ts';
import { countUses, isLeaf } from '../compiler/ir/graph.ts';
import { suggest } from '../compiler/ir/spelling.ts';
import { constants } from './constants.ts';
import { cse } from './cse.ts';
import { deadCode } from './dead-code.ts';
import { demand } from './demand.ts';
import { maskAnalysis } from './mask-analysis.ts';
import { pruneByMask } from './prune-by-mask.ts';
import { zeroRows } from './zero-rows.ts';

export function conventionNamed(name: string): Convention {
  const c = conventions[name];
  if (!c) throw new UserError(`There is no counting convention '${name}'.${suggest(name, Object.keys(conventions), 'The conventions are')}`);
  return c;
}

/** The cost of a traced model as formulas in `V`, `T` and `images`; to be evaluated at as many sizes as wanted. */
export function costFormula(model: Graph, convention: Convention): CostFormula {
  let g = convention.rows === 'written' ? keepUnread(model) : model;
  for (const pass of [deadCode, maskAnalysis, constants, cse, pruneByMask, zeroRows]) g = pass.run(g);
  if (convention.rows !== 'read') g = keepHandedOn(g, convention.headRows === 'all');
  for (const pass of [demand, constants, cse, deadCode]) g = pass.run(g);
  return new CostFormula(g, convention);
}

export interface FlopsOptions {
  /** Visual rows, text rows, and the images that the visual rows are; one by default. */
  readonly visual: number;
  readonly text: number;
  readonly images?: number;
  /** `exact` by default. */
  readonly convention?: string;
}

/** FLOPs of one prefill, exactly, by part. */
export function flops(model: Graph, { visual, text, images = 1, convention = 'exact' }: FlopsOptions): Cost<bigint> {
  return costFormula(model, conventionNamed(convention)).at({ dims: { V: visual, T: text }, images });
}

/** Makes every value that nobody reads an output. */
function keepUnread(g: Graph): Graph {
  const uses = countUses(g);
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
