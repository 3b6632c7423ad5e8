/** What is asked of the compiler, on the paths that its commands take: a model is found by name, traced, and its graph counted. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parameters } from 'eemllm';
import type { Part } from '../../compiler/cost/conventions.ts';
import type { CostFormula } from '../../compiler/cost/formula.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Graph } from '../../compiler/ir/graph.ts';
import { Poly } from '../../compiler/ir/poly.ts';
import { openModel } from '../../compiler/load-model.ts';
import { conventionNamed, costFormula } from '../../passes/flops.ts';
import type { Answer } from './row.ts';

/** A config or a definition that is not built in. */
export const config = (name: string): string => local(`configs/${name}.json`);
export const definition = (name: string): string => local(`models/${name}`);
const here = path.dirname(fileURLToPath(import.meta.url)), local = (file: string): string => path.relative(process.cwd(), path.join(here, file));

/** Asked twice, worked out once. */
function remembered<Key extends readonly (string | undefined)[], T>(make: (...key: Key) => Promise<T>): (...key: Key) => Promise<T> {
  const known = new Map<string, Promise<T>>();
  return (...key) => {
    const id = JSON.stringify(key), old = known.get(id) ?? make(...key);
    known.set(id, old);
    return old;
  };
}

/** The graph of a model, as its author wrote it or in a variant, as `eemllm flops MODEL --compare VARIANT` traces it. */
export const graphOf = remembered(async (model: string, variant?: string): Promise<Graph> => trace((await openModel(model)).create(variant)).graph);
const formulaOf = remembered(async (convention: string, model: string, variant?: string): Promise<CostFormula> => costFormula(await graphOf(model, variant), conventionNamed(convention)));

export interface Asked {
  readonly model: string;
  readonly variant?: string;
  /** Rows; a share of a row is a mean over prompts, and what is counted must grow evenly. */
  readonly visual?: number;
  readonly text?: number | { readonly tenths: number };
  /** Further dims of the definition's own. */
  readonly dims?: Readonly<Record<string, number>>;
  readonly images?: number;
  readonly convention: string;
  /** What of it; the total by default. */
  readonly of?: Part | 'total';
}

/** FLOPs of a prompt in units of `unit`, and the command that prints them. */
export async function flops({ model, variant, visual = 0, text = 0, dims = {}, images = 1, convention, of = 'total' }: Asked, unit = 1): Promise<Answer> {
  const formula = await formulaOf(convention, model, variant), whole = typeof text === 'number';
  const cost = (T: number): number => { const at = formula.at({ dims: { V: visual, T, ...dims }, images }); return Number(of === 'total' ? at.total : at.parts[of]); };
  const value = whole ? cost(text) : mean(cost, text.tenths, of === 'total' ? formula.total : formula.parts[of]);
  const rows = [...(visual ? [`--visual ${visual}`] : []), ...(whole && (text || visual) ? [`--text ${text}`] : []), ...(images > 1 ? [`--images ${images}`] : [])];
  const command = ['eemllm flops', model, ...rows, ...(variant === undefined ? [] : [`--compare ${variant}`]), `--convention ${convention}`].join(' ');
  return { value: value / unit, ...(whole && !Object.keys(dims).length && { command }) };
}

/** What is counted at a mean number of text rows, between two whole ones. */
function mean(at: (T: number) => number, tenths: number, formula: Poly): number {
  if (formula.substitute({ T: Poly.dim('T').mul(2) }).sub(formula).sub(formula.sub(formula.substitute({ T: 0 }))).isZero) {
    const low = Math.floor(tenths / 10), high = Math.ceil(tenths / 10);
    return at(low) + ((at(high) - at(low)) * (tenths - 10 * low)) / 10;
  }
  throw new RangeError('What is counted does not grow evenly with the rows of text, so it has no value at their mean number.');
}

/** Numbers in the parameters of a model, of those whose name matches if a pattern is given. */
export async function parameterCount(model: string, matching = /(?:)/): Promise<Answer> {
  const own = parameters((await openModel(model)).create()).filter((p) => matching.test(p.name));
  return { value: own.reduce((sum, p) => sum + p.shape.reduce((a, b) => a * b, 1), 0) };
}

/** The same in units of `unit`. */
export const scaled = (answer: Answer, unit: number): Answer => ({ ...answer, value: answer.value / unit });
/** Of two values the one as a part of the other, or what it saves of it. */
export const ratio = (part: Answer, whole: Answer): Answer => ({ value: part.value / whole.value });
export const saving = (part: Answer, whole: Answer): Answer => ({ value: 1 - part.value / whole.value });
