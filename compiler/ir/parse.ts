/** Reads textual IR (print.ts shows the language): names, types and masks are checked, and every error shows its place. */
import type { IToken } from 'chevrotain';
import { GraphBuilder } from './builder.ts';
import type { SourcePos } from './errors.ts';
import { sourceFrame, UserError } from './errors.ts';
import type { BodySyntax, DeclarationSyntax, EntrySyntax, AttrSyntax, GraphSyntax, NodeSyntax, OperandSyntax, PlaceSyntax, TypeSyntax } from './grammar.ts';
import { isEnd, parseSyntax, SyntaxProblem } from './grammar.ts';
import type { Attr, Attrs, Body, Graph, Node, PairClass, Time } from './graph.ts';
import { pairClasses, pairKey, param, times } from './graph.ts';
import { tokenize, words } from './lexer.ts';
import { parseMaskExpr } from './mask/parse.ts';
import { AttrError, inferType } from './ops/infer.ts';
import { ops } from './ops/index.ts';
import { Poly } from './poly.ts';
import { printName } from './print.ts';
import type { Program } from './program.ts';
import { program } from './program.ts';
import type { Kind } from './rows.ts';
import { maskKinds, parseRows } from './rows.ts';
import { nearest, suggest } from './spelling.ts';
import type { DType, TensorType } from './types.ts';
import { dtypes, printType, sameType, tensorType } from './types.ts';
import { problems } from './verify.ts';

/**
 * The one graph of a text. Throws a UserError that shows the place in the text. With the name of its file, values without
 * `at "file":line:column` of their own stand at their place in the text, so that a pass's error names it.
 */
export function parseGraph(text: string, file?: string): Graph {
  return new Reader(text, file).read((graphs, r) => {
    if (graphs[1]) r.fail(graphs[1].name, `One graph was expected, but '${r.name(graphs[1].name)}' is a second one. A text of several graphs is a program.`);
    return r.graph(graphs[0]!);
  });
}

/** All graphs of a text; errors and places as in `parseGraph`. */
export function parseProgram(text: string, file?: string): Program {
  return new Reader(text, file).read((graphs, r) => {
    r.unique(graphs.map((g) => g.name), 'graph');
    return program(graphs.map((g) => r.graph(g)));
  });
}

/** Recursion that ran out of stack is a RangeError too, but none of ours. */
const isOverflow = (e: unknown): boolean => e instanceof RangeError && /call stack/i.test(e.message);

/** The values that a graph or a body may speak of. */
interface Scope { readonly values: Map<string, Node>; /** Of a body. */ readonly params?: readonly Node[] }

class Reader {
  private readonly tokenOf = new Map<Node, IToken>();
  constructor(private readonly text: string, private readonly file: string | undefined) {}

  /** Runs the whole reading; whatever goes wrong leaves as a UserError with its place and a frame. */
  read<T>(build: (graphs: readonly GraphSyntax[], r: Reader) => T): T {
    try {
      const { tokens, error } = tokenize(this.text);
      if (error) this.lexicalError(error.offset);
      return build(parseSyntax(tokens), this);
    } catch (e) {
      if (e instanceof SyntaxProblem) return e.expected === undefined ? this.fail(e.token, e.message) : this.unexpected(e.token, e.expected);
      if (e instanceof UserError && e.where && !e.frame) throw new UserError(e.reason, e.where, { cause: e, frame: sourceFrame(this.text, e.where) });
      if (isOverflow(e)) throw new UserError('The text is nested too deeply to be read.', undefined, { cause: e });
      throw e;
    }
  }

  fail(token: IToken, message: string, cause?: unknown): never {
    const where = this.place(token);
    throw new UserError(message, where, { cause, frame: sourceFrame(this.text, where) });
  }
  private place(token: IToken): SourcePos {
    if (isEnd(token) || Number.isNaN(token.startOffset)) return this.placeOf(this.text.trimEnd().length);
    return { file: this.file ?? 'text', line: token.startLine!, column: token.startColumn! };
  }
  private placeOf(offset: number): SourcePos {
    const before = this.text.slice(0, offset).split(/\r\n|\r|\n/);
    return { file: this.file ?? 'text', line: before.length, column: before.at(-1)!.length + 1 };
  }
  private lexicalError(offset: number): never {
    const where = this.placeOf(offset), character = String.fromCodePoint(this.text.codePointAt(offset)!);
    const message = character === '"' ? 'The text in quotes that begins here has no end on its line.' : `The character '${character}' has no meaning here.`;
    throw new UserError(message, where, { frame: sourceFrame(this.text, where) });
  }
  private unexpected(token: IToken, expected: string): never {
    const found = isEnd(token) ? 'the end of the text' : `'${token.image}'`;
    const near = /^[A-Za-z]+$/.test(token.image) && !words.includes(token.image) ? nearest(token.image, words) : undefined;
    return this.fail(token, `Found ${found}, where ${expected} was expected.${near ? ` Did you mean '${near}'?` : ''}`);
  }

  /** Runs `f`; its RangeError or SyntaxError becomes an error at the word. */
  private at<T>(token: IToken, f: () => T): T {
    try { return f(); } catch (e) {
      if (isOverflow(e) || !(e instanceof RangeError || e instanceof SyntaxError)) throw e;
      return this.fail(token, e.message, e);
    }
  }
  /** What a name or text in quotes says. */
  name(token: IToken): string {
    if (!token.image.startsWith('"')) return token.image;
    try { return JSON.parse(token.image) as string; } catch (e) { return this.fail(token, `${token.image} is not text in JSON's spelling: ${(e as Error).message}.`, e); }
  }
  unique(tokens: readonly IToken[], what: string): void {
    const seen = new Map<string, IToken>();
    for (const t of tokens) {
      const old = seen.get(this.name(t));
      if (old) this.fail(t, `The ${what} '${this.name(t)}' stands here a second time; the first is on line ${old.startLine}.`);
      seen.set(this.name(t), t);
    }
  }
  private integer(token: IToken, least: number, what: string): number {
    const n = Number(token.image);
    if (!Number.isSafeInteger(n) || n < least) this.fail(token, `${what} must be an integer of at least ${least}, not ${token.image}.`);
    return n;
  }

  graph(g: GraphSyntax): Graph {
    const b = new GraphBuilder(this.name(g.name));
    for (const is of ['sequence', 'mask', 'input', 'weight', 'state'] as const) this.unique(g.declarations.filter((d) => d.is === is).map((d) => d.name), is);
    for (const d of g.declarations) this.declare(b, d);
    // An input with a name like '0' is always written `%"0"`, and is never taken for the value `%0`.
    const scope: Scope = { values: new Map([...b.inputs].filter(([name]) => printName(name) === name)) };
    for (const n of g.nodes) b.nodes.push(this.node(b, scope, n));
    this.unique(g.outputs.map((o) => o.name), 'output');
    for (const o of g.outputs) b.output(this.name(o.name), this.operand(b, scope, o.value));
    const graph = b.finish();
    for (const p of problems(graph)) this.fail((p.node && this.tokenOf.get(p.node)) ?? g.name, p.message);
    return graph;
  }

  private declare(b: GraphBuilder, d: DeclarationSyntax): void {
    if (d.is === 'sequence') {
      this.unique(d.kinds.map((k) => k.name), 'kind');
      const kinds: Kind[] = d.kinds.map((k) => ({ name: k.name.image, media: k.media, ...(k.of ? { of: k.of.image } : {}), count: this.at(k.count[0]!, () => Poly.parse(k.count.map((x) => x.image).join(' '))) }));
      b.sequence({ name: this.name(d.name), kinds });
      return;
    }
    if (d.is === 'mask') {
      const sequence = b.sequences.get(this.name(d.sequence));
      if (!sequence) return this.fail(d.sequence, `The sequence '${this.name(d.sequence)}' is not declared above.${suggest(this.name(d.sequence), b.sequences.keys(), 'Declared are')}`);
      const kindNames = sequence.kinds.map((k) => k.name);
      const lead = d.text.image.length - d.text.image.trimStart().length;
      const expr = this.at(d.text, () => parseMaskExpr(d.text.image.trim(), maskKinds(sequence), this.placeOf(d.text.startOffset + lead)));
      const pairs = d.pairs.map((p): [string, PairClass] => {
        for (const t of [p.query, p.key]) if (!kindNames.includes(t.image)) this.fail(t, `Sequence '${sequence.name}' has no kind '${t.image}'.${suggest(t.image, kindNames, 'Its kinds are')}`);
        if (!(pairClasses as readonly string[]).includes(p.is.image)) this.fail(p.is, `'${p.is.image}' is no class of a pair of kinds.${suggest(p.is.image, pairClasses, 'The classes are')}`);
        return [pairKey(p.query.image, p.key.image), p.is.image as PairClass];
      });
      const where = this.where(d.place, d.name);
      b.mask({ name: this.name(d.name), sequence, expr, ...(pairs.length ? { pairs: Object.fromEntries(pairs) } : {}), ...(where ? { where } : {}) });
      return;
    }
    const name = this.name(d.name), type = this.type(b, d.type);
    if (d.is === 'input') {
      if (!(times as readonly string[]).includes(d.time.image)) this.fail(d.time, `'${d.time.image}' is no time at which an input is known.${suggest(d.time.image, times, 'The times are')}`);
      this.tokenOf.set(b.input(name, type, d.time.image as Time), d.name);
    } else this.tokenOf.set(b[d.is](name, type, this.attrs(d.attrs)), d.name);
  }

  private type(b: GraphBuilder, s: TypeSyntax): TensorType {
    const dtype = s.dtype.image as DType;
    if (!dtypes.includes(dtype)) this.fail(s.dtype, `'${dtype}' is no type of number.${suggest(dtype, dtypes, 'The types are')}`);
    const rows = s.rows[0] && this.at(s.rows[0], () => parseRows(b.sequences.values(), s.rows.map((x) => x.image).join('')));
    return tensorType(dtype, rows, s.dims.map((x) => this.integer(x, 1, 'A dim')));
  }

  private where(p: PlaceSyntax | undefined, token: IToken): SourcePos | undefined {
    if (p) return { file: this.name(p.file), line: this.integer(p.line, 1, 'A line'), column: this.integer(p.column, 1, 'A column') };
    return this.file === undefined ? undefined : this.place(token);
  }

  private node(b: GraphBuilder, scope: Scope, s: NodeSyntax): Node {
    const op = s.op.image, name = s.name.image.slice(1), path = s.path ? this.name(s.path) : '', where = this.where(s.place, s.op);
    if (name.startsWith('"')) this.fail(s.name, `The name of a value must be written without quotes; ${s.name.image} can only be an input.`);
    if (scope.values.has(name)) this.fail(s.name, `%${name} has been defined before; each value has a name of its own.`);
    if (!ops.has(op)) this.fail(s.op, `'${op}' is no op.${suggest(op, ops.keys(), 'The ops are')}`);
    const inputs = s.operands.map((o) => this.operand(b, scope, o));
    const attrs = this.attrs(s.attrs);
    const body = s.body && this.body(b, s.body, inputs);
    if (body && op !== 'fused') this.fail(s.body!.begin, `Only 'fused' has a body, '${op}' has none.`);
    const type = this.infer(b, s, inputs, attrs, body);
    this.checkTypes(b, s, body ? body.results.map((r) => r.type) : [type]);
    const node: Node = { op, inputs, attrs, type, path, ...(where ? { where } : {}), ...(body ? { body } : {}) };
    scope.values.set(name, node);
    this.tokenOf.set(node, s.op);
    return node;
  }

  private infer(b: GraphBuilder, s: NodeSyntax, inputs: readonly Node[], attrs: Attrs, body: Body | undefined): TensorType {
    try {
      return inferType(s.op.image, inputs.map((n) => n.type), attrs, b, body ?? inputs[0]?.body);
    } catch (e) {
      if (!(e instanceof RangeError)) throw e;
      const attr = e instanceof AttrError ? s.attrs.find((a) => this.name(a.name) === e.attr) : undefined;
      return this.fail(attr?.name ?? s.op, `${s.op.image}: ${e.message}`, e);
    }
  }

  private checkTypes(b: GraphBuilder, s: NodeSyntax, types: readonly TensorType[]): void {
    if (!s.types.length) return;
    if (s.types.length !== types.length) this.fail(s.types[0]!.dtype, `${s.name.image} has ${types.length} result(s), but ${s.types.length} type(s) are written.`);
    s.types.forEach((t, i) => {
      const written = this.type(b, t);
      if (!sameType(written, types[i]!)) this.fail(t.dtype, `${s.name.image} is written as ${printType(written)}, but ${s.op.image} gives ${printType(types[i]!)} here.`);
    });
  }

  private operand(b: GraphBuilder, scope: Scope, o: OperandSyntax): Node {
    const { sigil, token } = o;
    if (sigil === '$') {
      const found = scope.params?.[Number(token.image.slice(1))];
      return found ?? this.fail(token, `There is no parameter ${token.image} here; ${scope.params ? `the fused op has ${scope.params.length} input(s), and $0 is the first` : 'only the body of a fused op has parameters'}.`);
    }
    const bare = sigil === '%' ? token.image.slice(1) : token.image, quoted = bare.startsWith('"');
    const name = quoted ? this.name({ ...token, image: bare }) : bare;
    const [what, known] = sigil === '@' ? ['weight', b.weights] : sigil === '&' ? ['state', b.states] : quoted ? ['input', b.inputs] : ['value', scope.values];
    if (scope.params && what !== 'value') this.fail(token, `The body of a fused op reads its parameters ($0, …) and its own values alone. Give it the ${what} as an input.`);
    const found = (known as ReadonlyMap<string, Node>).get(name);
    return found ?? this.fail(token, `The ${what} ${sigil}${bare} is not defined above.${suggest(name, [...known.keys()].slice(-200), 'Defined are')}`);
  }

  private body(b: GraphBuilder, s: BodySyntax, inputs: readonly Node[]): Body {
    const params = inputs.map((n, i) => param(i, n.type));
    const scope: Scope = { values: new Map(), params };
    const nodes = s.nodes.map((n) => this.node(b, scope, n));
    return { params, nodes, results: s.results.map((o) => this.operand(b, scope, o)) };
  }

  private attrs(entries: readonly EntrySyntax[]): Attrs {
    this.unique(entries.map((e) => e.name), 'attribute');
    return Object.fromEntries(entries.map((e) => [this.name(e.name), this.attr(e.value)]));
  }
  private attr(v: AttrSyntax): Attr {
    if (v.is === 'list') return v.items.map((i) => this.attr(i));
    if (v.is === 'record') return this.attrs(v.entries);
    const { image } = v.token;
    if (image === 'true' || image === 'false') return image === 'true';
    if (image.startsWith('"')) return this.name(v.token);
    const n = Number(image);
    return Number.isFinite(n) ? n : this.fail(v.token, `${image} is larger than any number here.`);
  }
}
