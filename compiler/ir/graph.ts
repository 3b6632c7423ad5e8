import type { MaskExpr } from './mask/expr.ts';
import type { SourcePos } from './errors.ts';
import type { Sequence } from './rows.ts';
import type { TensorType } from './types.ts';

export type Attr = string | number | boolean | readonly Attr[] | { readonly [key: string]: Attr };
export type Attrs = Readonly<Record<string, Attr>>;

/** What a mask says on one ordered pair of kinds (query kind, key kind), as proven from its predicate. */
export const pairClasses = ['empty', 'full', 'causal', 'diagonal', 'mixed'] as const;
export type PairClass = (typeof pairClasses)[number];

/** When an input is known: once per image, once per prompt, or once per generated token. */
export const times = ['constant', 'image', 'prompt', 'token'] as const;
export type Time = (typeof times)[number];

export interface MaskDecl {
  readonly name: string;
  readonly sequence: Sequence;
  readonly expr: MaskExpr;
  /** `pairs['visual>text']`, once mask analysis has run. */
  readonly pairs?: Readonly<Record<string, PairClass>>;
  readonly where?: SourcePos;
}

/**
 * One value in SSA form: an op applied to values. `input`, `weight` and `state` are leaves and stand in the graph's
 * header; every other op stands in the op table. A `fused` node carries the ops that it computes in its `body` and
 * has several results, which `result` nodes pick.
 */
export interface Node {
  readonly op: string;
  readonly inputs: readonly Node[];
  readonly attrs: Attrs;
  readonly type: TensorType;
  /** Module path of the author's model, e.g. `language_model.model.layers.0.self_attn`; costs are grouped by it. */
  readonly path: string;
  readonly where?: SourcePos;
  readonly body?: Body;
}

/** The inside of a fused node: parameters stand for the node's inputs, one by one. */
export interface Body {
  readonly params: readonly Node[];
  readonly nodes: readonly Node[];
  readonly results: readonly Node[];
}

/** What ops may look up while they infer types: everything of a graph but its nodes. */
export interface GraphHead {
  readonly sequences: ReadonlyMap<string, Sequence>;
  readonly masks: ReadonlyMap<string, MaskDecl>;
}

export interface Graph extends GraphHead {
  readonly name: string;
  /** `input` leaves by name; `attrs.time` says when each is known. */
  readonly inputs: ReadonlyMap<string, Node>;
  /** `weight` leaves by checkpoint name. */
  readonly weights: ReadonlyMap<string, Node>;
  /** `state` leaves by name: buffers that outlive a step, such as the KV cache. Their rows are context rows. */
  readonly states: ReadonlyMap<string, Node>;
  /** All other nodes, every one after its inputs. */
  readonly nodes: readonly Node[];
  /** Roots: what the caller reads. Stores into states are roots too, named after the state. */
  readonly outputs: ReadonlyMap<string, Node>;
}

export const isLeaf = (n: Node): boolean => n.op === 'input' || n.op === 'weight' || n.op === 'state' || n.op === 'param';
/** The name of a leaf. */
export const leafName = (n: Node): string => String(n.attrs['name']);
/** Parameter `i` of a fused body, printed as `$i`. */
export const param = (i: number, type: TensorType): Node => ({ op: 'param', inputs: [], attrs: { name: String(i) }, type, path: '' });
export const pairKey = (q: string, k: string): string => `${q}>${k}`;

/** How often each node is read: by nodes of the graph, and by its outputs. */
export function countUses(g: Graph): Map<Node, number> {
  const uses = new Map<Node, number>();
  const use = (n: Node): void => { uses.set(n, (uses.get(n) ?? 0) + 1); };
  for (const n of g.nodes) n.inputs.forEach(use);
  for (const n of g.outputs.values()) use(n);
  return uses;
}
