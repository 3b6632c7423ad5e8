/**
 * Variants by name: a mask and a row rule for some or all layers of any model that takes them.
 *
 * A variant is written `name` or `name:option=value,option=value`; a list of layers is written `layers=0-3,8`, and
 * several variants are written one after another: `self,composite,shortv:layers=8-31`.
 */
import type { Mask, Model } from 'eemllm';
import { UserError, inLayers, isMask, suggest } from 'eemllm';
import { causal, composite, imageIslands } from './masks.ts';
import type { Rules } from './rules.ts';
import { textRows } from './rules.ts';
import type { Tokens } from './tokens.ts';

/** The options that a variant was given, each read once. */
interface Options {
  layers(): readonly number[];
  size(name: string): number;
}
interface Definition {
  readonly doc: string;
  readonly options: readonly string[];
  /** What changes of a model's rules. */
  readonly change: (base: Rules, options: Options) => Partial<Rules>;
}

export const variants: Readonly<Record<string, Definition>> = {
  self: { doc: 'Every row reads all rows up to itself: the decoder as it was trained.', options: [], change: () => ({ mask: causal }) },
  composite: { doc: 'EE-MLLM: text reads everything up to itself, a visual row itself alone.', options: [], change: () => ({ mask: composite }) },
  'ee-mllm-f': { doc: 'EE-MLLM-F: composite attention in the given layers.', options: ['layers'], change: (base, o) => ({ mask: inLayers(o.layers(), composite, base.mask) }) },
  shortv: { doc: 'ShortV: in the given layers visual rows are read but not rewritten.', options: ['layers'], change: (base, o) => ({ rewrite: inLayers(o.layers(), textRows, base.rewrite) }) },
  'image-islands': { doc: 'Visual rows read their own image alone; text reads all images and a window of text.', options: ['window'], change: (_, o) => ({ mask: imageIslands(o.size('window')) }) },
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
 * Gives a model the rules of a variant. `masks` are further masks by name, such as those of the author's own file.
 * Throws a UserError for an unknown variant or option, or a layer that the model lacks.
 */
export function applyVariant(model: Model, text: string, masks: Readonly<Record<string, unknown>> = {}): void {
  if (!takesRules(model)) throw new UserError(`The model ${model.constructor.name} takes no variants: it lacks one of the attributes 'mask', 'rewrite' and 'layerCount'.`);
  const [, name, options] = /^([^:]*)(?::(.*))?$/s.exec(text) as unknown as [string, string, string | undefined];
  const own = Object.hasOwn(masks, name) ? masks[name] : undefined;
  if (isMask(own)) { model.mask = own as unknown as Mask<Tokens>; return; }
  if (!Object.hasOwn(variants, name)) {
    const known = [...Object.keys(variants), ...Object.keys(masks).filter((m) => isMask(masks[m]))];
    throw new UserError(`'${name}' is no variant.${suggest(name, known, 'Known are')}`);
  }
  const definition = variants[name]!;
  Object.assign(model, definition.change(model, readOptions(name, definition, options, model.layerCount)));
}

function readOptions(name: string, { options: known }: Definition, text: string | undefined, layerCount: number): Options {
  const given = new Map<string, string>();
  let last = '';
  for (const part of text ? text.split(',').map((p) => p.trim()) : []) {
    const equals = part.indexOf('=');
    if (equals > 0) given.set(last = part.slice(0, equals), part.slice(equals + 1));
    else if (last) given.set(last, `${given.get(last)},${part}`);
    else throw new UserError(`'${part}' is no option of the variant '${name}'; options are written option=value.`);
  }
  const unknown = [...given.keys()].find((k) => !known.includes(k));
  if (unknown !== undefined) throw new UserError(`The variant '${name}' has no option '${unknown}'.${suggest(unknown, known, 'Its options are')}`);
  const value = (option: string, example: string): string => {
    const v = given.get(option);
    if (!v) throw new UserError(`The variant '${name}' needs the option '${option}', for example ${name}:${option}=${example}.`);
    return v;
  };
  return {
    layers: () => readLayers(value('layers', '0-3,8'), layerCount),
    size: (option) => {
      const v = value(option, '256');
      if (!/^[1-9]\d*$/.test(v)) throw new UserError(`The option '${option}' of the variant '${name}' is '${v}'; expected a whole number of at least 1.`);
      return Number(v);
    },
  };
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
