/** How the options of a variant are written, `name:k=2,r=0.5`, and what each may say. */
import { Fraction, UserError, suggest } from 'eemllm';

/** Reads what an option says in a model of `layers` layers; undefined if it cannot say that. */
export interface Reader<T> {
  /** What is expected, for an error. */
  expected(layers: number): string;
  read(text: string, layers: number): T | undefined;
}
export type Readers = Readonly<Record<string, Reader<unknown>>>;
/** What readers read: `{ window: Reader<number> }` gives `{ window: number }`. */
export type Values<R extends Readers> = { readonly [K in keyof R]: R[K] extends Reader<infer T> ? T : never };

/** A whole number of at least 1. */
export const size: Reader<number> = {
  expected: () => 'a whole number of at least 1',
  read: (text) => (/^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined),
};

/** A share of rows: `0.5`, `1/3` or `50%`. */
export const share: Reader<Fraction> = {
  expected: () => 'a share from 0 to 1, such as 0.5 or 1/3',
  read: (text) => { const f = Fraction.parse(text); return f && f.compare(Fraction.one) <= 0 ? f : undefined; },
};

/** How many layers come before something: the layer at whose entry it happens, none if all layers come before it. */
export const after: Reader<readonly number[]> = {
  expected: (layers) => `a number of layers from 0 to ${layers}`,
  read: (text, layers) => (/^\d{1,9}$/.test(text) && Number(text) <= layers ? [Number(text)].filter((k) => k < layers) : undefined),
};

/** `layers=0-3,8,window=4` as a map; a part without `=` belongs to the option before it. Every option is one of `known`. */
export function splitOptions(name: string, known: readonly string[], text: string): Map<string, string> {
  const options = new Map<string, string>();
  let last = '';
  for (const part of text ? text.split(',').map((p) => p.trim()) : []) {
    const equals = part.indexOf('=');
    if (equals > 0) options.set(last = part.slice(0, equals), part.slice(equals + 1));
    else if (last) options.set(last, `${options.get(last)},${part}`);
    else throw new UserError(`'${part}' is no option of the variant '${name}'; options are written option=value.`);
  }
  const unknown = [...options.keys()].find((k) => !known.includes(k));
  if (unknown !== undefined) throw new UserError(`The variant '${name}' has no option '${unknown}'.${known.length ? suggest(unknown, known, 'Its options are') : ' It has none.'}`);
  return options;
}

/** What the options of a variant say. Throws a UserError for one that is missing or says what it cannot. */
export function readOptions<R extends Readers>(name: string, readers: R, given: ReadonlyMap<string, string>, example: string, layers: number): Values<R> {
  return Object.fromEntries(Object.entries(readers).map(([option, reader]) => {
    const text = given.get(option);
    if (text === undefined) throw new UserError(`The variant '${name}' needs the option '${option}', for example ${example}.`);
    const value = reader.read(text.trim(), layers);
    if (value === undefined) throw new UserError(`The option '${option}' of the variant '${name}' is '${text}'; expected ${reader.expected(layers)}.`);
    return [option, value];
  })) as Values<R>;
}

/** `0-3,8` as 0, 1, 2, 3, 8. */
export function readLayers(text: string, count: number): number[] {
  return text.split(',').flatMap((part) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
    if (first === undefined || Number(last) < Number(first)) throw new UserError(`'${part}' is no layer and no range of layers; layers are written like 0-3,8.`);
    if (Number(last) >= count) throw new UserError(`Layer ${last} lies outside the model: its ${count} layers are 0 to ${count - 1}.`);
    return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
  });
}
