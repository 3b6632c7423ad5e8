/** The grammar of textual IR: from words to a syntax tree that knows no names and no types (parse.ts gives it meaning). */
import type { IParserErrorMessageProvider, IToken, TokenType } from 'chevrotain';
import { EmbeddedActionsParser, EOF, tokenLabel, tokenMatcher } from 'chevrotain';
import * as t from './lexer.ts';

export interface TypeSyntax { readonly dtype: IToken; readonly rows: readonly IToken[]; readonly dims: readonly IToken[] }
export interface KindSyntax { readonly media: boolean; readonly name: IToken; readonly of: IToken | undefined; readonly count: readonly IToken[] }
export interface PairSyntax { readonly query: IToken; readonly key: IToken; readonly is: IToken }
export interface PlaceSyntax { readonly file: IToken; readonly line: IToken; readonly column: IToken }
export interface OperandSyntax { readonly sigil: '%' | '@' | '&' | '$'; readonly token: IToken }
export type AttrSyntax =
  | { readonly is: 'literal'; readonly token: IToken }
  | { readonly is: 'list'; readonly items: readonly AttrSyntax[] }
  | { readonly is: 'record'; readonly entries: readonly EntrySyntax[] };
export interface EntrySyntax { readonly name: IToken; readonly value: AttrSyntax }
export interface BodySyntax { readonly nodes: readonly NodeSyntax[]; readonly results: readonly OperandSyntax[]; readonly begin: IToken }
export interface NodeSyntax {
  readonly name: IToken; readonly op: IToken; readonly operands: readonly OperandSyntax[]; readonly attrs: readonly EntrySyntax[];
  readonly body: BodySyntax | undefined; readonly types: readonly TypeSyntax[]; readonly path: IToken | undefined; readonly place: PlaceSyntax | undefined;
}
export type DeclarationSyntax =
  | { readonly is: 'sequence'; readonly name: IToken; readonly kinds: readonly KindSyntax[] }
  | { readonly is: 'mask'; readonly name: IToken; readonly sequence: IToken; readonly text: IToken; readonly pairs: readonly PairSyntax[]; readonly place: PlaceSyntax | undefined }
  | { readonly is: 'input'; readonly name: IToken; readonly type: TypeSyntax; readonly time: IToken }
  | { readonly is: 'weight'; readonly name: IToken; readonly type: TypeSyntax; readonly attrs: readonly EntrySyntax[] }
  | { readonly is: 'state'; readonly name: IToken; readonly type: TypeSyntax; readonly attrs: readonly EntrySyntax[] };
export interface GraphSyntax {
  readonly name: IToken; readonly declarations: readonly DeclarationSyntax[]; readonly nodes: readonly NodeSyntax[];
  readonly outputs: readonly { readonly name: IToken; readonly value: OperandSyntax }[];
}

/** The furthest word at which none of the alternatives fits, and what would have fitted there. */
function misfit(paths: readonly TokenType[][], actual: readonly IToken[]): { found: IToken; expected: TokenType[] } {
  const fits = (p: readonly TokenType[]): number => { let i = 0; while (i < p.length - 1 && tokenMatcher(actual[i]!, p[i]!)) i++; return i; };
  const far = Math.max(...paths.map(fits));
  return { found: actual[far]!, expected: [...new Set(paths.filter((p) => fits(p) === far).map((p) => p[far]!))] };
}
const either = (labels: readonly string[]): string => (labels.length < 2 ? labels.join('') : `${labels.slice(0, -1).join(', ')} or ${labels.at(-1)}`);

/** Messages name only what was expected; `parse.ts` says what was found, and where. */
class Expectations implements IParserErrorMessageProvider {
  /** The word that did not fit, when it is not the one that chevrotain names. */
  culprit: IToken | undefined;
  buildMismatchTokenMessage({ expected }: { expected: TokenType }): string { return tokenLabel(expected); }
  buildNotAllInputParsedMessage(): string { return "another 'graph' or the end of the text"; }
  buildNoViableAltMessage({ expectedPathsPerAlt, actual }: { expectedPathsPerAlt: TokenType[][][]; actual: IToken[] }): string { return this.say(expectedPathsPerAlt.flat(), actual); }
  buildEarlyExitMessage({ expectedIterationPaths, actual }: { expectedIterationPaths: TokenType[][]; actual: IToken[] }): string { return this.say(expectedIterationPaths, actual); }
  private say(paths: readonly TokenType[][], actual: readonly IToken[]): string {
    const { found, expected } = misfit(paths, actual);
    this.culprit = found;
    return either(expected.map(tokenLabel));
  }
}

/** Deeper nesting of attributes or bodies than any graph has. */
const maxDepth = 64;
type Rule<T> = (idx?: number) => T;

class GraphParser extends EmbeddedActionsParser {
  readonly expectations: Expectations;
  readonly program: Rule<GraphSyntax[]>;
  private depth = 0;

  constructor() {
    const expectations = new Expectations();
    super([...t.tokens], { errorMessageProvider: expectations, recoveryEnabled: false, maxLookahead: 3 });
    this.expectations = expectations;
    const rule = <T>(name: string, f: () => T): Rule<T> => this.RULE(name, f) as Rule<T>;
    /** Zero or more of something between commas, collected. */
    const collect = <T>(idx: 1 | 2 | 3, item: () => T): T[] => {
      const all: T[] = [];
      const def = { SEP: t.Comma, DEF: () => { all.push(item()); } };
      if (idx === 1) this.MANY_SEP(def); else if (idx === 2) this.MANY_SEP2(def); else this.MANY_SEP3(def);
      return all;
    };
    /** At least one. */
    const collectSome = <T>(idx: 1 | 2, item: () => T): T[] => {
      const all: T[] = [];
      const def = { SEP: t.Comma, DEF: () => { all.push(item()); } };
      if (idx === 1) this.AT_LEAST_ONE_SEP(def); else this.AT_LEAST_ONE_SEP2(def);
      return all;
    };

    const label = rule('label', (): IToken => this.OR([{ ALT: () => this.CONSUME(t.Name) }, { ALT: () => this.CONSUME(t.Text) }]));

    const type = rule('type', (): TypeSyntax => {
      const dtype = this.CONSUME(t.Name), rows: IToken[] = [], dims: IToken[] = [];
      this.CONSUME(t.LSquare);
      this.OPTION(() => this.OR([
        { ALT: () => {
          rows.push(this.CONSUME2(t.Name));
          this.MANY(() => { rows.push(this.OR2([{ ALT: () => this.CONSUME(t.Plus) }, { ALT: () => this.CONSUME(t.Dot) }])); rows.push(this.CONSUME3(t.Name)); });
          this.MANY2(() => { this.CONSUME(t.Comma); dims.push(this.CONSUME(t.NumberWord)); });
        } },
        { ALT: () => { dims.push(this.CONSUME2(t.NumberWord)); this.MANY3(() => { this.CONSUME2(t.Comma); dims.push(this.CONSUME3(t.NumberWord)); }); } },
      ]));
      this.CONSUME(t.RSquare);
      return { dtype, rows, dims };
    });

    const place = rule('place', (): PlaceSyntax => {
      this.CONSUME(t.At);
      const file = this.CONSUME(t.Text);
      this.CONSUME(t.Colon);
      const line = this.CONSUME(t.NumberWord);
      this.CONSUME2(t.Colon);
      return { file, line, column: this.CONSUME2(t.NumberWord) };
    });

    const operand = rule('operand', (): OperandSyntax => this.OR<OperandSyntax>([
      { ALT: () => ({ sigil: '%', token: this.CONSUME(t.Value) }) },
      { ALT: () => { this.CONSUME(t.AtSign); return { sigil: '@', token: this.CONSUME(t.Text) }; } },
      { ALT: () => { this.CONSUME(t.Ampersand); return { sigil: '&', token: this.CONSUME2(t.Text) }; } },
      { ALT: () => ({ sigil: '$', token: this.CONSUME(t.Param) }) },
    ]));

    const value = rule('value', (): AttrSyntax => this.OR<AttrSyntax>([
      { ALT: () => ({ is: 'literal', token: this.CONSUME(t.NumberWord) }) },
      { ALT: () => ({ is: 'literal', token: this.CONSUME(t.Text) }) },
      { ALT: () => ({ is: 'literal', token: this.CONSUME(t.True) }) },
      { ALT: () => ({ is: 'literal', token: this.CONSUME(t.False) }) },
      { ALT: () => {
        this.enter(this.CONSUME(t.LSquare));
        const items = collect(1, () => this.SUBRULE(value));
        this.CONSUME(t.RSquare);
        this.leave();
        return { is: 'list', items };
      } },
      { ALT: () => ({ is: 'record', entries: this.SUBRULE(record) }) },
    ]));
    const record: Rule<EntrySyntax[]> = rule('record', (): EntrySyntax[] => {
      this.enter(this.CONSUME(t.LCurly));
      const entries = collect(1, () => {
        const name = this.SUBRULE(label);
        this.CONSUME(t.Equals);
        return { name, value: this.SUBRULE(value) };
      });
      this.CONSUME(t.RCurly);
      this.leave();
      return entries;
    });

    const body = rule('body', (): BodySyntax => {
      const begin = this.CONSUME(t.LCurly), nodes: NodeSyntax[] = [];
      this.enter(begin);
      this.MANY(() => { nodes.push(this.SUBRULE(node)); });
      this.CONSUME(t.Return, { ERR_MSG: "'%name = …' or 'return'" });
      const results = collectSome(1, () => this.SUBRULE(operand));
      this.CONSUME(t.RCurly);
      this.leave();
      return { begin, nodes, results };
    });

    const node: Rule<NodeSyntax> = rule('node', (): NodeSyntax => {
      const name = this.CONSUME(t.Value);
      this.CONSUME(t.Equals, { ERR_MSG: "'=' after the name of a new value (an op's inputs stand between commas)" });
      const op = this.CONSUME(t.Name);
      const operands = this.OR([
        { ALT: () => {
          this.CONSUME(t.LParen);
          const all = collect(1, () => this.SUBRULE(operand));
          this.CONSUME(t.RParen);
          return all;
        } },
        { ALT: () => collectSome(1, () => this.SUBRULE2(operand)) },
      ]);
      const attrs = this.OPTION(() => this.SUBRULE(record)) ?? [];
      const inside = this.OPTION2(() => this.SUBRULE(body));
      const types = this.OPTION3(() => { this.CONSUME(t.Colon); return collectSome(2, () => this.SUBRULE(type)); }) ?? [];
      const path = this.OPTION4(() => { this.CONSUME(t.In); return this.CONSUME(t.Text); });
      return { name, op, operands, attrs, body: inside, types, path, place: this.OPTION5(() => this.SUBRULE(place)) };
    });

    const sequence = rule('sequence', (): DeclarationSyntax => {
      this.CONSUME(t.Sequence);
      const name = this.SUBRULE(label);
      this.CONSUME(t.LParen);
      const kinds = collectSome(1, () => {
        // A kind may itself be called 'media', or 'of'.
        const named = (at: number): boolean => this.LA(at).tokenType === t.Colon || (this.LA(at).tokenType === t.Of && this.LA(at + 1).tokenType !== t.Colon);
        const media = this.OPTION({ GATE: () => !named(2), DEF: () => this.CONSUME(t.Media) });
        const kind = this.CONSUME(t.Name);
        const of = this.OPTION2(() => { this.CONSUME(t.Of); return this.CONSUME2(t.Name); });
        this.CONSUME(t.Colon);
        return { media: media !== undefined, name: kind, of, count: this.SUBRULE(count) };
      });
      this.CONSUME(t.RParen);
      return { is: 'sequence', name, kinds };
    });
    const count = rule('count', (): IToken[] => {
      const parts: IToken[] = [];
      this.AT_LEAST_ONE(() => this.OR([
        ...[t.NumberWord, t.Plus, t.Minus, t.Star, t.Slash, t.Power].map((type) => ({ ALT: () => { parts.push(this.CONSUME(type)); } })),
        { ALT: () => {
          const name = this.CONSUME(t.Name), inside: IToken[] = [];
          // `floor(9V/10)`
          this.OPTION(() => {
            inside.push(this.CONSUME(t.LParen));
            this.AT_LEAST_ONE2(() => { inside.push(this.OR2([t.Name, t.NumberWord, t.Slash].map((type) => ({ ALT: () => this.CONSUME2(type) })))); });
            inside.push(this.CONSUME(t.RParen));
          });
          parts.push({ ...name, image: [name, ...inside].map((x) => x.image).join('') });
        } },
      ]));
      return parts;
    });

    const mask = rule('mask', (): DeclarationSyntax => {
      this.CONSUME(t.Mask);
      const name = this.SUBRULE(label);
      this.CONSUME(t.LParen);
      const over = this.SUBRULE2(label);
      this.CONSUME(t.RParen);
      this.CONSUME(t.Equals);
      const text = this.CONSUME(t.MaskText);
      const pairs = this.OPTION(() => { this.CONSUME(t.Where); return this.SUBRULE(proofs); }) ?? [];
      return { is: 'mask', name, sequence: over, text, pairs, place: this.OPTION2(() => this.SUBRULE(place)) };
    });
    const proofs = rule('proofs', (): PairSyntax[] => collectSome(1, () => {
      const query = this.CONSUME(t.Name);
      this.CONSUME(t.Greater);
      const key = this.CONSUME2(t.Name);
      this.CONSUME(t.Colon);
      return { query, key, is: this.CONSUME3(t.Name) };
    }));

    const leaf = rule('leaf', (): DeclarationSyntax => this.OR<DeclarationSyntax>([
      { ALT: () => {
        this.CONSUME(t.Input);
        const name = this.SUBRULE(label);
        this.CONSUME(t.Colon);
        const of = this.SUBRULE(type);
        this.CONSUME(t.At);
        return { is: 'input', name, type: of, time: this.CONSUME(t.Name) };
      } },
      { ALT: () => { this.CONSUME(t.Weight); const name = this.CONSUME(t.Text); this.CONSUME2(t.Colon); const of = this.SUBRULE2(type); return { is: 'weight', name, type: of, attrs: this.OPTION(() => this.SUBRULE(record)) ?? [] }; } },
      { ALT: () => { this.CONSUME(t.State); const name = this.CONSUME2(t.Text); this.CONSUME3(t.Colon); const of = this.SUBRULE3(type); return { is: 'state', name, type: of, attrs: this.OPTION2(() => this.SUBRULE2(record)) ?? [] }; } },
    ]));

    const graph = rule('graph', (): GraphSyntax => {
      this.CONSUME(t.Graph);
      const name = this.SUBRULE(label);
      this.CONSUME(t.LCurly);
      const declarations: DeclarationSyntax[] = [], nodes: NodeSyntax[] = [];
      this.MANY(() => { declarations.push(this.OR([{ ALT: () => this.SUBRULE(sequence) }, { ALT: () => this.SUBRULE(mask) }, { ALT: () => this.SUBRULE(leaf) }])); });
      this.MANY2(() => { nodes.push(this.SUBRULE(node)); });
      this.CONSUME(t.Return, { ERR_MSG: nodes.length ? "'%name = …' or 'return'" : "a declaration ('sequence', 'mask', 'input', 'weight', 'state'), '%name = …' or 'return'" });
      const outputs = collect(1, () => {
        const output = this.SUBRULE2(label);
        this.CONSUME(t.Equals);
        return { name: output, value: this.SUBRULE(operand) };
      });
      this.CONSUME(t.RCurly);
      return { name, declarations, nodes, outputs };
    });

    this.program = rule('program', (): GraphSyntax[] => {
      const graphs: GraphSyntax[] = [];
      this.AT_LEAST_ONE(() => { graphs.push(this.SUBRULE(graph)); });
      return graphs;
    });
    this.performSelfAnalysis();
  }

  private enter(token: IToken): void {
    this.ACTION(() => { if (++this.depth > maxDepth) throw new SyntaxProblem(`This is nested more than ${maxDepth} deep.`, token); });
  }
  private leave(): void { this.ACTION(() => { this.depth--; }); }
  /** Makes ready for another text. */
  begin(input: IToken[]): void { this.input = input; this.depth = 0; this.expectations.culprit = undefined; }
}

/** What is wrong at a word. `expected` is a phrase, when the word itself is out of place. */
export class SyntaxProblem extends Error {
  constructor(message: string, readonly token: IToken, readonly expected?: string) { super(message); }
}

// Making the parser analyses the grammar (some 20 ms), so it waits for the first text.
let parser: GraphParser | undefined;

/** The syntax trees of a text's graphs. Throws the first SyntaxProblem. */
export function parseSyntax(input: IToken[]): GraphSyntax[] {
  parser ??= new GraphParser();
  parser.begin(input);
  const graphs = parser.program();
  const error = parser.errors[0];
  if (!error) return graphs;
  throw new SyntaxProblem(error.message, (error.name === 'MismatchedTokenException' ? undefined : parser.expectations.culprit) ?? error.token, error.message);
}
export const isEnd = (token: IToken): boolean => token.tokenType === EOF;
