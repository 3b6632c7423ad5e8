/**
 * Variants by name: a mask, a row rule, or rows that leave, for some or all layers of any model that takes them.
 *
 * A variant is written `name` or `name:option=value,option=value`, with a list of layers as in `layers=0-3,8`. What is
 * joined by `+` holds together: `composite+shortv:layers=8-31`. It always starts from the plain decoder (causal, every row
 * rewritten and kept), so that a name means the same for every model.
 */
import type { Mask, Model } from 'eemllm';
import { UserError, inLayers, isMask, suggest } from 'eemllm';
import { causal, composite, imageIslands } from './masks.ts';
import type { KeepRule, RowRule, Rules } from './rules.ts';
import { allRows, everyRow, textRows, visualShare } from './rules.ts';
import type { Tokens } from './tokens.ts';
import type { Readers, Values } from './variant-options.ts';
import { after, readLayers, readOptions, share, size, splitOptions } from './variant-options.ts';

/** What a variant says, and of which layers if its own options say that. */
interface Change { readonly mask?: Mask<Tokens>; readonly rewrite?: RowRule; readonly keep?: KeepRule; readonly layers?: readonly number[] }
export interface VariantDefinition {
  readonly doc: string;
  /** The variant with everything that it needs. */
  readonly example: string;
  /** Options that must be given. */
  readonly options: Readers;
  /** Whether it takes a list of layers besides: it must be given, it may be (all layers by default), or the other options say it. */
  readonly layers: 'needed' | 'all' | 'none';
  readonly change: (text: ReadonlyMap<string, string>, layers: number) => Change;
}

function define<R extends Readers>(example: string, doc: string, layers: VariantDefinition['layers'], options: R, change: (values: Values<R>) => Change): VariantDefinition {
  const name = example.split(':')[0]!;
  return { doc, example, options, layers, change: (given, count) => change(readOptions(name, options, given, example, count)) };
}

export const variants: Readonly<Record<string, VariantDefinition>> = Object.fromEntries([
  define('self', 'Every row reads all rows up to itself: the decoder as it was trained.', 'all', {}, () => ({ mask: causal })),
  define('composite', 'EE-MLLM: text reads everything up to itself, a visual row itself alone.', 'all', {}, () => ({ mask: composite })),
  define('ee-mllm-f:layers=0-3,8', 'EE-MLLM-F: composite attention in the given layers.', 'needed', {}, () => ({ mask: composite })),
  define('shortv:layers=0-3,8', 'ShortV: in the given layers visual rows are read but not rewritten.', 'needed', {}, () => ({ rewrite: textRows })),
  define('image-islands:window=256', 'Visual rows read their own image alone; text reads all images and a window of text.', 'all', { window: size }, ({ window }) => ({ mask: imageIslands(window) })),
  define('vtw:k=16', 'VTW (arXiv 2405.05803): after k layers no visual row is there any more.', 'none', { k: after }, ({ k }) => ({ keep: visualShare(0), layers: k })),
  define('fastv:k=2,r=0.5', 'FastV (arXiv 2403.06764): after k layers the share r of the visual rows leaves, chosen at run time.', 'none', { k: after, r: share }, ({ k, r }) => ({ keep: visualShare(r.rest()), layers: k })),
  define('pdrop:layers=8,16,24,keep=0.5', 'PyramidDrop (arXiv 2410.17247): before each of the given layers the share `keep` of the visual rows goes on, chosen at run time.', 'needed', { keep: share }, ({ keep }) => ({ keep: visualShare(keep) })),
].map((d) => [d.example.split(':')[0]!, d]));

/** Splits a list of variants: what follows a comma belongs to the variant before it if it is an option or a number. */
export function splitVariants(text: string): string[] {
  const out: string[] = [];
  for (const part of text.split(',').map((p) => p.trim())) {
    const continues = /^[\d-]+$/.test(part) || /^[\w-]+=/.test(part);
    if (continues && out.length) out.push(`${out.pop()},${part}`);
    else out.push(part);
  }
  return out;
}

/** Rules of a model; one whose author wrote its own forward may have no rows that leave. */
type OwnRules = Omit<Rules, 'keep'> & Partial<Pick<Rules, 'keep'>>;
/** True for a model whose layers take a mask and a row rule. */
export const takesRules = (model: Model): model is Model & OwnRules => 'mask' in model && 'rewrite' in model && 'layerCount' in model;

/**
 * Gives a model the rules of a variant, in place of its own. `masks` are further masks by name, such as those of the author's own file.
 * Throws a UserError for an unknown variant or option, a share that is none, or a layer that the model lacks.
 */
export function applyVariant(model: Model, text: string, masks: Readonly<Record<string, unknown>> = {}): void {
  if (!takesRules(model)) throw new UserError(`The model ${model.constructor.name} takes no variants: it lacks one of the attributes 'mask', 'rewrite' and 'layerCount'.`);
  model.mask = causal;
  model.rewrite = everyRow;
  if (model.keep) model.keep = allRows;
  for (const one of text.split('+')) addRules(model, one.trim(), masks);
}

function addRules(model: Model & OwnRules, text: string, masks: Readonly<Record<string, unknown>>): void {
  const colon = text.indexOf(':'), name = colon < 0 ? text : text.slice(0, colon);
  const definition = find(name, masks), known = [...Object.keys(definition.options), ...(definition.layers === 'none' ? [] : ['layers'])];
  const options = splitOptions(name, known, colon < 0 ? '' : text.slice(colon + 1)), listed = options.get('layers');
  if (listed === undefined && definition.layers === 'needed') throw new UserError(`The variant '${name}' needs the option 'layers', for example ${definition.example}.`);
  const { mask, rewrite, keep, layers = listed === undefined ? undefined : readLayers(listed, model.layerCount) } = definition.change(options, model.layerCount);
  if (mask) model.mask = layers ? inLayers(layers, mask, model.mask) : mask;
  if (rewrite) model.rewrite = layers ? inLayers(layers, rewrite, model.rewrite) : rewrite;
  if (!keep) return;
  if (!model.keep) throw new UserError(`The model ${model.constructor.name} takes no variant like '${name}', whose rows leave on the way: it lacks the attribute 'keep'.`);
  model.keep = layers ? inLayers(layers, keep, model.keep) : keep;
}

function find(name: string, masks: Readonly<Record<string, unknown>>): VariantDefinition {
  const own = Object.hasOwn(masks, name) ? masks[name] : undefined;
  if (isMask(own)) return define(name, '', 'all', {}, () => ({ mask: own as unknown as Mask<Tokens> }));
  if (Object.hasOwn(variants, name)) return variants[name]!;
  throw new UserError(`'${name}' is no variant.${suggest(name, [...Object.keys(variants), ...Object.keys(masks).filter((m) => isMask(masks[m]))], 'Known are')}`);
}
