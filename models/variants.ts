/**
 * Variants by name: a mask and a row rule for some or all layers of any model that takes them.
 *
 * A variant is written `name` or `name:option=value,option=value`, with a list of layers as in `layers=0-3,8`. What is
 * joined by `+` holds together: `composite+shortv:layers=8-31`. It always starts from the plain decoder (causal, every row
 * rewritten), so that a name means the same for every model.
 */
import type { Mask, Model } from 'eemllm';
import { UserError, inLayers, isMask, suggest } from 'eemllm';
import { causal, composite, imageIslands } from './masks.ts';
import type { RowRule, Rules } from './rules.ts';
import { everyRow, textRows } from './rules.ts';
import type { Tokens } from './tokens.ts';

/** What a variant says of a layer. */
interface Change { readonly mask?: Mask<Tokens>; readonly rewrite?: RowRule }
interface Definition {
  readonly doc: string;
  /** Options with a number, each of which must be given. Every variant takes `layers` besides, all layers by default. */
  readonly sizes?: readonly string[];
  readonly needsLayers?: boolean;
  readonly change: (sizes: Readonly<Record<string, number>>) => Change;
}

export const variants: Readonly<Record<string, Definition>> = {
  self: { doc: 'Every row reads all rows up to itself: the decoder as it was trained.', change: () => ({ mask: causal }) },
  composite: { doc: 'EE-MLLM: text reads everything up to itself, a visual row itself alone.', change: () => ({ mask: composite }) },
  'ee-mllm-f': { doc: 'EE-MLLM-F: composite attention in the given layers.', needsLayers: true, change: () => ({ mask: composite }) },
  shortv: { doc: 'ShortV: in the given layers visual rows are read but not rewritten.', needsLayers: true, change: () => ({ rewrite: textRows }) },
  'image-islands': { doc: 'Visual rows read their own image alone; text reads all images and a window of text.', sizes: ['window'], change: ({ window }) => ({ mask: imageIslands(window!) }) },
};

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

/** True for a model whose layers take a mask and a row rule. */
export const takesRules = (model: Model): model is Model & Rules => 'mask' in model && 'rewrite' in model && 'layerCount' in model;

/**
 * Gives a model the rules of a variant, in place of its own. `masks` are further masks by name, such as those of the author's own file.
 * Throws a UserError for an unknown variant or option, or a layer that the model lacks.
 */
export function applyVariant(model: Model, text: string, masks: Readonly<Record<string, unknown>> = {}): void {
  if (!takesRules(model)) throw new UserError(`The model ${model.constructor.name} takes no variants: it lacks one of the attributes 'mask', 'rewrite' and 'layerCount'.`);
  model.mask = causal;
  model.rewrite = everyRow;
  for (const one of text.split('+')) addRules(model, one.trim(), masks);
}

function addRules(model: Rules, text: string, masks: Readonly<Record<string, unknown>>): void {
  const colon = text.indexOf(':'), name = colon < 0 ? text : text.slice(0, colon);
  const definition = find(name, masks), options = readOptions(name, definition, colon < 0 ? '' : text.slice(colon + 1));
  const { mask, rewrite } = definition.change(Object.fromEntries((definition.sizes ?? []).map((s) => [s, readSize(name, s, options.get(s))])));
  const listed = options.get('layers');
  if (listed === undefined && definition.needsLayers) throw new UserError(`The variant '${name}' needs the option 'layers', for example ${name}:layers=0-3,8.`);
  const layers = listed === undefined ? undefined : readLayers(listed, model.layerCount);
  if (mask) model.mask = layers ? inLayers(layers, mask, model.mask) : mask;
  if (rewrite) model.rewrite = layers ? inLayers(layers, rewrite, model.rewrite) : rewrite;
}

function find(name: string, masks: Readonly<Record<string, unknown>>): Definition {
  const own = Object.hasOwn(masks, name) ? masks[name] : undefined;
  if (isMask(own)) return { doc: '', change: () => ({ mask: own as unknown as Mask<Tokens> }) };
  if (Object.hasOwn(variants, name)) return variants[name]!;
  throw new UserError(`'${name}' is no variant.${suggest(name, [...Object.keys(variants), ...Object.keys(masks).filter((m) => isMask(masks[m]))], 'Known are')}`);
}

/** `layers=0-3,8,window=4` as a map; a part without `=` belongs to the option before it. */
function readOptions(name: string, { sizes = [] }: Definition, text: string): Map<string, string> {
  const options = new Map<string, string>(), known = [...sizes, 'layers'];
  let last = '';
  for (const part of text ? text.split(',').map((p) => p.trim()) : []) {
    const equals = part.indexOf('=');
    if (equals > 0) options.set(last = part.slice(0, equals), part.slice(equals + 1));
    else if (last) options.set(last, `${options.get(last)},${part}`);
    else throw new UserError(`'${part}' is no option of the variant '${name}'; options are written option=value.`);
  }
  const unknown = [...options.keys()].find((k) => !known.includes(k));
  if (unknown !== undefined) throw new UserError(`The variant '${name}' has no option '${unknown}'.${suggest(unknown, known, 'Its options are')}`);
  return options;
}

function readSize(name: string, option: string, value: string | undefined): number {
  if (value === undefined) throw new UserError(`The variant '${name}' needs the option '${option}', for example ${name}:${option}=256.`);
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new UserError(`The option '${option}' of the variant '${name}' is '${value}'; expected a whole number of at least 1.`);
  return Number(value);
}

/** `0-3,8` as 0, 1, 2, 3, 8. */
function readLayers(text: string, count: number): number[] {
  return text.split(',').flatMap((part) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
    if (first === undefined || Number(last) < Number(first)) throw new UserError(`'${part}' is no layer and no range of layers; layers are written like 0-3,8.`);
    if (Number(last) >= count) throw new UserError(`Layer ${last} lies outside the model: its ${count} layers are 0 to ${count - 1}.`);
    return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
  });
}
