/**
 * What an editor says of a model: snippets that must compile, and snippets whose error must stand at the right word and
 * name the right thing. One TypeScript program checks them all.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const head = `
import type { Given, Mask, Tensor } from 'eemllm';
import { Linear, Model, Module, RMSNorm, asRows, attention, ids, inLayers, mask, merge, parameter, sequence, silu } from 'eemllm';
import { Llava, causal, composite, shortV, tokens } from 'eemllm/models';
interface Cfg { readonly hidden_size: number; readonly intermediate_size: number; readonly act: string }
type Both = 'visual' | 'text';
`;
const module = (attributes: string, forward: string): string => `
export class Snippet extends Module<Cfg> {
  up = new Linear(this.cfg, 'hidden_size', 'intermediate_size');
  down = new Linear(this.cfg, 'intermediate_size', 'hidden_size');
  ${attributes}
  forward(x: Tensor<Both, 'hidden_size'>, text: Tensor<'text', 'hidden_size'>, m: Mask<Both>) { ${forward}; return { x, text, m }; }
}`;

const good: Record<string, string> = {
  'a feed-forward layer': module('', `const y: Tensor<Both, 'hidden_size'> = this.down.forward(silu(this.up.forward(x)))`),
  'the type of a Linear, as an editor shows it': module(`declare same: Linear<'hidden_size', 'intermediate_size'>`, 'this.same = this.up'),
  'a row rule': module('', `const y: Tensor<Both, 'hidden_size'> = x.update('text', (rows: Tensor<'text', 'hidden_size'>) => rows.add(text))`),
  'rows and merge are inverse': module('', `const y: Tensor<Both, 'hidden_size'> = merge(x.rows('visual'), x.rows('text'))`),
  'attention of some rows over others': module('', `const y: Tensor<'text', 'hidden_size'> = attention(text, x, x, { mask: m, heads: 4 })`),
  'a parameter as a vector for all rows': module(`gain = parameter(this.cfg, 'hidden_size')`, `const y: Tensor<Both, 'hidden_size'> = x.mul(this.gain)`),
  'a mask that asks for kinds': `export const m: Mask<Both> = mask(tokens, (q, k) => (q.kind === 'text' ? k.pos <= q.pos : k.image === q.image));`,
  'a mask with parameters': `export const m = mask(tokens, (q, k, { window }) => q.pos - k.pos < window, { window: 4 });`,
  'a mask that calls a mask': `export const m = mask(tokens, (q, k) => causal(q, k) && k.index < 3);`,
  'three kinds': `const t = sequence('audio', 'visual', 'text'); export const m = mask(t, (q, k) => q.kind === 'audio' && k.kind === 'visual');`,
  'a tower counts its rows': `const t = sequence('patches', { class: 1, patch: 16 }); export const m = mask(t, (q) => q.kind === 'class');`,
  'a model in three lines': `export class EeMllm extends Llava { override mask = composite; }`,
  'a mask in some layers': `export class F extends Llava { override mask = inLayers([1, 3], composite, causal); }`,
  'a class made for layers': `export class S extends shortV([1]) { override mask = composite; }`,
  'a model of its own': `export class Own extends Model<Cfg> {
    inputs = { ids: ids(tokens, 'text') };
    forward({ ids }: Given<Own['inputs']>) { return ids; }
  }`,
};

/** Snippet, the text at which the error must stand, and what it must say. */
const bad: Record<string, readonly [snippet: string, at: string, says: RegExp]> = {
  'a misspelt dim': [module(`typo = new Linear(this.cfg, 'hidden_size', 'intermediate_sise');`, ''), `'intermediate_sise'`, /'"hidden_size" \| "intermediate_size"'/],
  'a config key that is no number': [module(`typo = new RMSNorm(this.cfg, 'act', { eps: 1 });`, ''), `'act'`, /"hidden_size" \| "intermediate_size"/],
  'a tensor of the wrong width': [module('', 'this.down.forward(x)'), 'x)', /Tensor<Both, "hidden_size">.*Tensor<Both, "intermediate_size">|Type '"hidden_size"' is not assignable to type '"intermediate_size"'/s],
  'a sum of two widths': [module('', 'x.add(this.up.forward(x))'), 'this.up.forward(x))', /"intermediate_size"/],
  'a sum of different rows': [module('', 'x.add(text)'), 'text)', /Tensor<"text", "hidden_size">/],
  'rows of a kind that the tensor lacks': [module('', `text.rows('visual')`), `'visual'`, /'"visual"' is not assignable to parameter of type '"text"'/],
  'an update of an unknown kind': [module('', `x.update('txt', (rows) => rows)`), `'txt'`, /"txt"/],
  'an update that gives other rows': [module('', `x.update('text', () => x)`), 'x)', /Tensor<Both, "hidden_size">/],
  'a misspelt kind in a mask': [`export const m = mask(tokens, (q, k) => q.kind === 'txt' && k.pos <= q.pos);`, `q.kind`, /'"visual" \| "text"' and '"txt"' have no overlap/],
  'a field that no token has': [`export const m = mask(tokens, (q, k) => q.position <= k.pos);`, 'position', /'position' does not exist on type 'Token<"visual" \| "text">'/],
  'a mask of another sequence': [`const t = sequence('audio', 'text'); const other = mask(t, () => true);\nexport class M extends Llava { override mask = other; }`, 'mask = other', /"audio"/],
  'a parameter that the mask lacks': [`export const m = mask(tokens, (q, k, { width }) => q.pos - k.pos < width, { window: 4 });`, 'width }', /'width' does not exist/],
  'a kind of another sequence': [module('', `asRows(text, tokens, 'audio')`), `'audio'`, /"visual" \| "text"/],
  'keys and values of different rows': [module('', 'attention(text, x, text, { mask: m, heads: 1 })'), 'text, {', /Tensor<"text", "hidden_size">/],
};

/** What hovering over a name shows. */
const shown: Record<string, readonly [expression: string, type: string]> = {
  'a layer': ['new Linear(cfg, "hidden_size", "intermediate_size")', 'Linear<"hidden_size", "intermediate_size">'],
  'a tensor': ['silu(x.rows("text"))', 'Tensor<"text", "hidden_size">'],
  'merged rows': ['merge(x.rows("visual"), x.rows("text"))', 'Tensor<"visual" | "text", "hidden_size">'],
  'a mask': ['mask(tokens, (q, k) => q.pos === k.pos)', 'Mask<"visual" | "text">'],
  'a parameter': ['parameter(cfg, "intermediate_size", "hidden_size")', 'Parameter<"hidden_size">'],
};
const hover = `declare const cfg: Cfg; declare const x: Tensor<Both, 'hidden_size'>;\n${Object.values(shown).map(([e], i) => `export const shown${i} = ${e};`).join('\n')}`;

const file = (name: string): string => path.join(root, 'test/unit', `snippet of ${name}.ts`);
let program: ts.Program;
let diagnostics: Map<string, readonly ts.Diagnostic[]>;
const sources = new Map([['hover', hover] as const, ...Object.entries(good), ...Object.entries(bad).map(([n, [s]]) => [n, s] as const)].map(([n, s]) => [file(n), head + s]));

beforeAll(() => {
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(path.join(root, 'tsconfig.json'), (f) => ts.sys.readFile(f)).config, ts.sys, root);
  const settings: ts.CompilerOptions = { ...options, noUnusedLocals: false, noUnusedParameters: false, types: ['node'] };
  const host = ts.createCompilerHost(settings);
  const { fileExists, readFile } = host;
  host.fileExists = (f) => sources.has(f) || fileExists(f);
  host.readFile = (f) => sources.get(f) ?? readFile(f);
  program = ts.createProgram([...sources.keys()], settings, host);
  diagnostics = new Map([...sources.keys()].map((f) => [f, ts.getPreEmitDiagnostics(program, program.getSourceFile(f))]));
}, 120_000);

describe('reads in an editor as', () => {
  test.each(Object.keys(shown))('%s', (name) => {
    const checker = program.getTypeChecker(), module = checker.getSymbolAtLocation(program.getSourceFile(file('hover'))!)!;
    const symbol = checker.getExportsOfModule(module).find((s) => s.name === `shown${Object.keys(shown).indexOf(name)}`)!;
    expect(checker.typeToString(checker.getTypeOfSymbol(symbol))).toBe(shown[name]![1]);
  });
});

const text = (d: ts.Diagnostic): string => ts.flattenDiagnosticMessageText(d.messageText, '\n');

describe('compiles', () => {
  test.each(Object.keys(good))('%s', (name) => { expect(diagnostics.get(file(name))!.map(text)).toEqual([]); });
});

describe('is an error at the right word', () => {
  test.each(Object.keys(bad))('%s', (name) => {
    const [, at, says] = bad[name]!, [first] = diagnostics.get(file(name))!;
    expect(first, 'it compiles').toBeDefined();
    expect(sources.get(file(name))!.slice(first!.start)).toMatch(new RegExp(`^${at.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`));
    expect(text(first!)).toMatch(says);
  });
});
