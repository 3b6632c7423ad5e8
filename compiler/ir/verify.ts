/**
 * What holds of every graph. The pass manager asks after each pass, the parser after each text: a graph that verifies can
 * be printed, costed, interpreted and lowered.
 */
import { UserError } from './errors.ts';
import type { Body, Graph, Node } from './graph.ts';
import { isLeaf, leafName, pairClasses, pairKey, times } from './graph.ts';
import type { MaskExpr } from './mask/expr.ts';
import { inferType } from './ops/infer.ts';
import { ops } from './ops/index.ts';
import { describeNode } from './print.ts';
import type { Program } from './program.ts';
import type { RowSet, Sequence } from './rows.ts';
import { maskKinds, printRows } from './rows.ts';
import { suggest } from './spelling.ts';
import type { TensorType } from './types.ts';
import { dtypes, printType, rowElements, sameType } from './types.ts';
import { parseStateFormat, stateFormats } from './state-format.ts';
import { parseWeightFormat, weightFormats } from './weight-format.ts';

/** One thing that is wrong; a full sentence, and the node that it is about. */
export interface Problem { readonly message: string; readonly node?: Node }

/** Throws a UserError that names the first node that is wrong, and the pass after which it is. */
export function verify(g: Graph, options: { readonly pass?: string } = {}): void {
  for (const { message, node } of problems(g)) {
    const when = options.pass === undefined ? '' : ` after the pass '${options.pass}'`;
    throw new UserError(`${node ? `${isLeaf(node) ? `${node.op} '${leafName(node)}'` : describeNode(g, node)} of the` : 'The'} graph '${g.name}' is wrong${when}: ${message}`, node?.where);
  }
}

/** `verify` for each graph, and that they agree on what they share. */
export function verifyProgram(p: Program, options: { readonly pass?: string } = {}): void {
  const seen = new Map<string, { readonly what: string; readonly graph: string }>();
  const agree = (name: string, what: string, graph: string): void => {
    const old = seen.get(name);
    if (old && old.what !== what) throw new UserError(`The graphs '${old.graph}' and '${graph}' of one program disagree on ${name}: ${old.what} in the one, ${what} in the other.`);
    seen.set(name, { what, graph });
  };
  for (const [name, g] of p.graphs) {
    if (name !== g.name) throw new UserError(`The graph '${g.name}' stands in its program under the name '${name}'.`);
    verify(g, options);
    for (const s of g.sequences.values()) agree(`sequence '${s.name}'`, kindsOf(s), g.name);
    for (const n of [...g.weights.values(), ...g.states.values()]) agree(`${n.op} '${leafName(n)}'`, `${printType(n.type)}${n.attrs['format'] === undefined ? '' : ` in ${String(n.attrs['format'])}`}`, g.name);
  }
}

const kindsOf = (s: Sequence): string => s.kinds.map((k) => `${k.media ? 'media ' : ''}${k.name}${k.of === undefined ? '' : ` of ${k.of}`}: ${k.count}`).join(', ');
/** Words of the text form that a kind's name would be taken for. */
const reserved = new Set(['where', 'at', 'return', 'q', 'k', 'true', 'false']);

/** Everything that is wrong, in order; later checks assume what earlier ones found right. */
export function* problems(g: Graph): Generator<Problem> {
  yield* sequenceProblems(g);
  yield* maskProblems(g);
  yield* leafProblems(g);
  const known = new Set<Node>();
  for (const n of g.nodes) {
    if (known.has(n)) yield { node: n, message: 'it stands in the list of nodes twice.' };
    for (const [i, x] of n.inputs.entries())
      if (isLeaf(x) ? declared(g, x) !== x : !known.has(x)) yield { node: n, message: `its input ${i} (${x.op}${isLeaf(x) ? ` '${leafName(x)}'` : ''}) is ${isLeaf(x) ? 'not declared in the graph' : 'defined after it, or not at all'}.` };
    yield* nodeProblems(g, n, (x) => x);
    known.add(n);
  }
  for (const [name, n] of g.outputs)
    if (isLeaf(n) ? declared(g, n) !== n : !known.has(n)) yield { message: `its output '${name}' (${n.op}${n.path ? `, in ${n.path}` : ''}) is no value of the graph.` };
}

const declared = (g: Graph, leaf: Node): Node | undefined =>
  ({ input: g.inputs, weight: g.weights, state: g.states } as Record<string, ReadonlyMap<string, Node>>)[leaf.op]?.get(leafName(leaf));

function* sequenceProblems(g: Graph): Generator<Problem> {
  const owner = new Map<string, string>();
  for (const [name, s] of g.sequences) {
    if (name !== s.name) yield { message: `the sequence '${s.name}' stands under the name '${name}'.` };
    if (!s.kinds.length) yield { message: `the sequence '${s.name}' has no kinds.` };
    for (const k of s.kinds) {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(k.name) || reserved.has(k.name)) yield { message: `a kind cannot be called '${k.name}'; use letters, digits and '_', and none of ${[...reserved].join(', ')}.` };
      const other = owner.get(k.name);
      if (other !== undefined) yield { message: `the kind '${k.name}' belongs to sequence '${other}' and to sequence '${s.name}'; a kind belongs to one sequence.` };
      owner.set(k.name, s.name);
    }
    yield* partProblems(s);
  }
}

/** Parts of one kind are all media or none, and stand side by side: their rows are its rows, one part after the other. */
function* partProblems(s: Sequence): Generator<Problem> {
  for (const [i, k] of s.kinds.entries()) {
    const whole = k.of ?? k.name, first = s.kinds.findIndex((x) => (x.of ?? x.name) === whole), one = s.kinds[first]!;
    if (s.kinds.slice(first, i).some((x) => (x.of ?? x.name) !== whole)) yield { message: `the parts of the kind '${whole}' of sequence '${s.name}' must stand side by side, and '${k.name}' stands apart.` };
    if (one.media !== k.media) yield { message: `the parts '${one.name}' and '${k.name}' of the kind '${whole}' are not both media.` };
  }
}

function* maskProblems(g: Graph): Generator<Problem> {
  for (const [name, m] of g.masks) {
    if (name !== m.name) yield { message: `the mask '${m.name}' stands under the name '${name}'.` };
    const s = g.sequences.get(m.sequence.name);
    if (!s || kindsOf(s) !== kindsOf(m.sequence)) { yield { message: `the mask '${name}' speaks of a sequence '${m.sequence.name}' that is not declared like that.` }; continue; }
    const kinds = s.kinds.map((k) => k.name), known = maskKinds(s).map((k) => k.name);
    for (const kind of kindConstants(m.expr)) if (!known.includes(kind)) yield { message: `the mask '${name}' speaks of a kind '${kind}', which sequence '${s.name}' has not.${suggest(kind, known, 'Its kinds are')}` };
    const keys = kinds.flatMap((q) => kinds.map((k) => pairKey(q, k)));
    for (const [pair, is] of Object.entries(m.pairs ?? {})) {
      if (!keys.includes(pair)) yield { message: `the mask '${name}' proves something of '${pair}', which is no pair of kinds.${suggest(pair, keys, 'The pairs are')}` };
      if (!pairClasses.includes(is)) yield { message: `the mask '${name}' gives '${pair}' the class '${String(is)}'.${suggest(String(is), pairClasses, 'The classes are')}` };
    }
  }
}
function* kindConstants(e: MaskExpr): Generator<string> {
  if (e.is === 'constant' && e.type === 'kind') yield String(e.value);
  if (e.is === 'operation') for (const a of e.args) yield* kindConstants(a);
}

function* leafProblems(g: Graph): Generator<Problem> {
  for (const [op, leaves] of [['input', g.inputs], ['weight', g.weights], ['state', g.states]] as const)
    for (const [name, n] of leaves) {
      if (n.op !== op || n.attrs['name'] !== name) yield { node: n, message: `it stands under the name '${name}' among the ${op}s.` };
      yield* typeProblems(g, n, n.type);
      if (op === 'input' && !(times as readonly unknown[]).includes(n.attrs['time'])) yield { node: n, message: `'${String(n.attrs['time'])}' is no time at which an input is known; the times are ${times.join(', ')}.` };
      if (op === 'input' && n.type.rows?.context) yield { node: n, message: `${printType(n.type)} are rows of the past, which only a state holds.` };
      if (op === 'weight' && n.type.rows) yield { node: n, message: `a weight has no rows, but this one is ${printType(n.type)}.` };
      if (op === 'weight') yield* storageProblems(n);
      if (op === 'state' && (!n.type.rows?.context || n.type.rows.last)) yield { node: n, message: `a state holds all rows of the context, such as f32[text.context, 64], but this one is ${printType(n.type)}.` };
      if (op === 'state') yield* holdingProblems(n);
    }
}

function* otherAttributes(n: Node): Generator<Problem> {
  const other = Object.keys(n.attrs).find((a) => a !== 'name' && a !== 'format');
  if (other !== undefined) yield { node: n, message: `a ${n.op} has no attribute '${other}'; it may have 'format'.` };
}

function* holdingProblems(n: Node): Generator<Problem> {
  const { format } = n.attrs, known = format === undefined ? undefined : parseStateFormat(String(format));
  yield* otherAttributes(n);
  if (format !== undefined && !known) yield { node: n, message: `'${String(format)}' is no format of a state; the formats are ${stateFormats}.` };
  else if (known && n.type.dtype !== 'f32') yield { node: n, message: `a format says how f32 rows are held, and this state is ${printType(n.type)}.` };
  else if (known?.kind === 'int8' && rowElements(n.type) % known.heads) yield { node: n, message: `rows of ${printType(n.type)} do not split into ${known.heads} heads, as its format says.` };
}

function* storageProblems(n: Node): Generator<Problem> {
  const { format } = n.attrs;
  yield* otherAttributes(n);
  if (format === undefined) return;
  if (typeof format !== 'string' || !parseWeightFormat(format)) yield { node: n, message: `'${String(format)}' is no format of a weight; the formats are ${weightFormats}.` };
  else if (n.type.dims.length < 2) yield { node: n, message: `a vector has no format of its own, and this one is ${printType(n.type)}.` };
}

function* typeProblems(g: Graph, node: Node, t: TensorType): Generator<Problem> {
  if (!dtypes.includes(t.dtype)) yield { node, message: `'${t.dtype}' is no type of number.` };
  if (!t.dims.every((d) => Number.isSafeInteger(d) && d >= 1) || !Number.isSafeInteger(rowElements(t))) yield { node, message: `the dims of ${printType(t)} must be integers of at least 1, with a product that is one too.` };
  if (t.rows && !wellFormed(g, t.rows)) yield { node, message: `'${printRows(t.rows)}' are no rows of a sequence of this graph.` };
}
function wellFormed(g: Graph, r: RowSet): boolean {
  const s = g.sequences.get(r.sequence.name);
  if (!s || kindsOf(s) !== kindsOf(r.sequence) || !r.kinds.length || (r.last && r.kinds.length > 1)) return false;
  return r.kinds.join() === s.kinds.map((k) => k.name).filter((k) => r.kinds.includes(k)).join();
}

/** What holds of one node on its own. `outer` gives the value for which a parameter of the enclosing body stands. */
function* nodeProblems(g: Graph, n: Node, outer: (x: Node) => Node): Generator<Problem> {
  if (!ops.has(n.op)) { yield { node: n, message: `'${n.op}' is no op.${suggest(n.op, ops.keys(), 'The ops are')}` }; return; }
  if (n.body && n.op !== 'fused') yield { node: n, message: `only a fused op has a body.` };
  if (n.op === 'result' && n.inputs[0]?.op !== 'fused') yield { node: n, message: `'result' picks a result of a fused op, not of ${n.inputs[0]?.op ?? 'nothing'}.` };
  let type: TensorType;
  try { type = inferType(n.op, n.inputs.map((x) => x.type), n.attrs, g, n.body ?? n.inputs[0]?.body); } catch (e) {
    if (!(e instanceof RangeError)) throw e;
    yield { node: n, message: e.message };
    return;
  }
  if (!sameType(type, n.type)) yield { node: n, message: `it is marked ${printType(n.type)}, but ${n.op} gives ${printType(type)} here.` };
  yield* typeProblems(g, n, n.type);
  if (n.op === 'store') yield* storeProblems(g, n, outer);
  if (n.op === 'fused') yield* bodyProblems(g, n, n.body!, outer);
}

/** A store writes into the state that it names, straight or after other stores into it. */
function* storeProblems(g: Graph, n: Node, outer: (x: Node) => Node): Generator<Problem> {
  const name = String(n.attrs['state']);
  let s = outer(n.inputs[0]!);
  while (s.op === 'store') s = outer(s.inputs[0]!);
  if (!g.states.has(name)) yield { node: n, message: `it stores into the state '${name}', which is not declared.${suggest(name, g.states.keys(), 'Declared are')}` };
  else if (s.op === 'state' && leafName(s) !== name) yield { node: n, message: `it names the state '${name}', but its first input is the state '${leafName(s)}'.` };
  else if (s.op !== 'state' && s.op !== 'fused' && s.op !== 'result') yield { node: n, message: `its first input must be the state '${name}', or another store into it, not ${s.op}.` };
}

function* bodyProblems(g: Graph, n: Node, body: Body, outer: (x: Node) => Node): Generator<Problem> {
  for (const [i, p] of body.params.entries()) {
    if (p.op !== 'param') yield { node: n, message: `parameter ${i} of its body is '${p.op}'.` };
    if (!sameType(p.type, n.inputs[i]!.type)) yield { node: n, message: `parameter ${i} of its body is ${printType(p.type)}, but its input ${i} is ${printType(n.inputs[i]!.type)}.` };
  }
  const known = new Set<Node>(body.params);
  const stands = (x: Node): Node => { const i = body.params.indexOf(x); return i < 0 ? x : outer(n.inputs[i]!); };
  for (const m of body.nodes) {
    for (const [i, x] of m.inputs.entries()) if (!known.has(x)) yield { node: m, message: `its input ${i} (${x.op}) is neither a parameter of the body nor defined before it there.` };
    yield* nodeProblems(g, m, stands);
    known.add(m);
  }
  for (const [i, r] of body.results.entries()) if (!known.has(r)) yield { node: n, message: `result ${i} of its body (${r.op}) is no value of the body.` };
}
