/**
 * The text form of graphs. It reads like the model, is the same for equal graphs, and `parse.ts` reads it back: printing
 * what was parsed gives the text again.
 *
 * ```
 * graph example {
 *   sequence tokens(media visual: V, text: T)
 *   mask causal(tokens) = k.pos <= q.pos
 *   input ids: i32[text] at prompt
 *   weight "embed_tokens.weight": f32[80, 128]
 *
 *   %0 = embed %ids, @"embed_tokens.weight" : f32[text, 128] in "embed_tokens"
 *   %1 = rows %0 {rows = "text.last"} : f32[text.last, 128]
 *   return hidden = %1
 * }
 * ```
 *
 * `%` names inputs and values, `@` weights, `&` states, `$i` parameter i of a fused body, whose values are numbered
 * `%5.0`, `%5.1`, … inside `%5`. Types, `in "module path"` and `at "file":line:column` may be left out when written by hand.
 */
import type { Attr, Attrs, Graph, MaskDecl, Node } from './graph.ts';
import { leafName, pairKey } from './graph.ts';
import { printMaskExpr } from './mask/print.ts';
import type { Program } from './program.ts';
import type { Sequence } from './rows.ts';
import { printType } from './types.ts';

export interface PrintOptions {
  /** Module paths (` in "…"`); on by default. */
  readonly paths?: boolean;
  /** Places in the author's files (` at "…":line:column`); off by default. */
  readonly positions?: boolean;
  /**
   * `numbers` (default): `%0`, `%1`, … in order. `paths`: `%model.layers.0.mlp/linear`, `…/linear.2`: an op more or less
   * leaves the names of other modules as they are, so the texts before and after a pass differ only where the pass did.
   */
  readonly names?: 'numbers' | 'paths';
}

const identifier = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** A name as it stands in text: in quotes unless it is an identifier. */
export const printName = (name: string): string => (identifier.test(name) ? name : JSON.stringify(name));

export function printGraph(g: Graph, options: PrintOptions = {}): string {
  const header = [
    ...[...g.sequences.values()].map(printSequence),
    ...[...g.masks.values()].map((m) => printMask(m) + printPosition(m, options)),
    ...[...g.inputs.values()].map((n) => `input ${printName(leafName(n))}: ${printType(n.type)} at ${String(n.attrs['time'])}`),
    ...[...g.weights.values()].map((n) => `weight ${JSON.stringify(leafName(n))}: ${printType(n.type)}${printLeafAttrs(n)}`),
    ...[...g.states.values()].map((n) => `state ${JSON.stringify(leafName(n))}: ${printType(n.type)}${printLeafAttrs(n)}`),
  ];
  const scope = new Scope(g.nodes, options.names === 'paths' ? pathNames(g) : numberNames(''));
  const lines = [...g.nodes.flatMap((n) => printNode(n, scope, options)), ...printReturn(g, scope)];
  return [`graph ${printName(g.name)} {`, ...header.map((l) => `  ${l}`), ...(header.length ? [''] : []), ...lines.map((l) => `  ${l}`), '}'].join('\n');
}

/** The graphs of a program, one after the other, with an empty line between them. */
export const printProgram = (p: Program, options: PrintOptions = {}): string => [...p.graphs.values()].map((g) => printGraph(g, options)).join('\n\n');

/** `%3 (linear, in language_model.layers.0)`: a node in an error message, named as `printGraph` names it. */
export function describeNode(g: Graph, n: Node): string {
  const names = new Map<Node, string>();
  const visit = (nodes: readonly Node[], prefix: string): void => nodes.forEach((x, i) => {
    if (!names.has(x)) names.set(x, `%${prefix}${i}`);
    if (x.body) visit(x.body.nodes, `${prefix}${i}.`);
  });
  visit(g.nodes, '');
  return `${names.get(n) ?? 'a node outside the graph'} (${n.op}${n.path ? `, in ${n.path}` : ''})`;
}

type Namer = (n: Node, i: number) => { readonly name: string; readonly inside: Namer };

/** The names of the values that a graph or a body may speak of. */
class Scope {
  private readonly names = new Map<Node, string>();
  private readonly bodies = new Map<Node, Namer>();
  constructor(nodes: readonly Node[], namer: Namer, readonly params: readonly Node[] = []) {
    nodes.forEach((n, i) => {
      const { name, inside } = namer(n, i);
      this.names.set(n, name);
      this.bodies.set(n, inside);
    });
  }
  name(n: Node): string {
    const own = this.names.get(n);
    if (own !== undefined) return own;
    const i = this.params.indexOf(n);
    if (i >= 0) return `$${i}`;
    if (n.op === 'input') return `%${printName(leafName(n))}`;
    if (n.op === 'weight') return `@${JSON.stringify(leafName(n))}`;
    if (n.op === 'state') return `&${JSON.stringify(leafName(n))}`;
    // A broken graph still prints, so that one can look at it; it does not parse.
    return `%undefined`;
  }
  body(n: Node): Scope { return new Scope(n.body!.nodes, this.bodies.get(n)!, n.body!.params); }
}

const numberNames = (prefix: string): Namer => (_n, i) => ({ name: `%${prefix}${i}`, inside: numberNames(`${prefix}${i}.`) });

/** Names made of module path and op, unique in the whole graph and different from the inputs' names. */
function pathNames(g: Graph): Namer {
  const used = new Set<string>(g.inputs.keys());
  const namer: Namer = (n) => {
    const base = (n.path ? `${n.path.replace(/[^\w.]/g, '_')}/` : '') + n.op;
    let name = base;
    for (let i = 2; used.has(name); i++) name = `${base}.${i}`;
    used.add(name);
    return { name: `%${name}`, inside: namer };
  };
  return namer;
}

function printNode(n: Node, scope: Scope, options: PrintOptions): string[] {
  const operands = n.inputs.map((i) => scope.name(i)).join(', ');
  const attrs = Object.values(n.attrs).some((v) => v !== undefined) ? ` ${printRecord(n.attrs)}` : '';
  const types = (n.body && n.op === 'fused' ? n.body.results.map((r) => r.type) : [n.type]).map(printType).join(', ');
  const tail = ` : ${types}${options.paths !== false && n.path ? ` in ${JSON.stringify(n.path)}` : ''}${printPosition(n, options)}`;
  const head = `${scope.name(n)} = ${n.op}${n.body || !operands ? `(${operands})` : ` ${operands}`}${attrs}`;
  if (!n.body) return [head + tail];
  const inner = scope.body(n);
  return [
    `${head} {`,
    ...n.body.nodes.flatMap((m) => printNode(m, inner, options)).map((l) => `  ${l}`),
    `  return ${n.body.results.map((r) => inner.name(r)).join(', ')}`,
    `}${tail}`,
  ];
}

function printReturn(g: Graph, scope: Scope): string[] {
  const outputs = [...g.outputs].map(([name, n]) => `${printName(name)} = ${scope.name(n)}`);
  const line = ['return', ...(outputs.length ? [outputs.join(', ')] : [])].join(' ');
  return line.length <= 110 ? [line] : ['return', ...outputs.map((o, i) => `  ${o}${i < outputs.length - 1 ? ',' : ''}`)];
}

const printSequence = (s: Sequence): string =>
  `sequence ${printName(s.name)}(${s.kinds.map((k) => `${k.media ? 'media ' : ''}${k.name}${k.of === undefined ? '' : ` of ${k.of}`}: ${k.count}`).join(', ')})`;

function printMask(m: MaskDecl): string {
  const kinds = m.sequence.kinds.map((k) => k.name);
  const pairs = kinds.flatMap((q) => kinds.flatMap((k) => (m.pairs?.[pairKey(q, k)] ? [`${q}>${k}: ${m.pairs[pairKey(q, k)]}`] : [])));
  return `mask ${printName(m.name)}(${printName(m.sequence.name)}) = ${printMaskExpr(m.expr)}${pairs.length ? ` where ${pairs.join(', ')}` : ''}`;
}

const printPosition = ({ where }: Pick<Node, 'where'>, options: PrintOptions): string =>
  options.positions && where ? ` at ${JSON.stringify(where.file)}:${where.line}:${where.column}` : '';

/** Attributes of a leaf besides its name. */
function printLeafAttrs({ attrs: { name: _name, ...rest } }: Node): string { return Object.keys(rest).length ? ` ${printRecord(rest)}` : ''; }

const printRecord = (attrs: Attrs): string =>
  `{${Object.entries(attrs).filter(([, v]) => v !== undefined).map(([k, v]) => `${printName(k)} = ${printAttr(v)}`).join(', ')}}`;

function printAttr(v: Attr): string {
  if (typeof v === 'number') return Object.is(v, -0) ? '-0' : String(v);
  if (typeof v !== 'object') return JSON.stringify(v);
  return Array.isArray(v) ? `[${v.map(printAttr).join(', ')}]` : printRecord(v as Attrs);
}
