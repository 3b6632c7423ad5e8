import { UserError } from '../ir/errors.ts';
import { suggest } from '../ir/spelling.ts';
import { callSite } from './where.ts';

/** Names of the sizes in a config: its keys that hold a number. */
// `infer` makes an editor list the names, where it would show `Dim<Config>` otherwise.
export type Dim<Config> = { [K in keyof Config]-?: Config[K] extends number ? K & string : never }[keyof Config] extends infer Names extends string ? Names : never;

/** The size that a dim's name is bound to. Throws a UserError when the config has none, or it is no size. */
export function dimSize(config: unknown, name: string): number {
  const all = (config ?? {}) as Readonly<Record<string, unknown>>;
  const size = all[name];
  if (typeof size === 'number' && Number.isSafeInteger(size) && size > 0) return size;
  const sizes = Object.keys(all).filter((k) => typeof all[k] === 'number');
  throw new UserError(size === undefined
    ? `The config has no dim '${name}'.${suggest(name, sizes, 'Its numbers are')}`
    : `The config's '${name}' is ${JSON.stringify(size)}; a dim is a whole number of at least 1.`, callSite());
}

/**
 * A tensor of the checkpoint. Its name is the path of the attribute that holds it. `Width` names its last dim.
 *
 * `shape` is the checkpoint's; `view` is how ops see the same numbers: a patch convolution `[out, channels, size, size]`
 * is a matrix `[out, channels · size · size]`.
 */
export class Parameter<in out Width extends string> {
  constructor(readonly shape: readonly number[], readonly width: Width, readonly view: readonly number[] = shape) {}
}

/** A parameter of any width. */
export interface AnyParameter { readonly shape: readonly number[]; readonly view: readonly number[]; readonly width: string }

/** A parameter with named dims: `class_embedding = parameter(this.cfg, 'hidden_size')`. */
export const parameter = <Config, const Dims extends readonly [Dim<Config>, ...Dim<Config>[]]>(config: Config, ...dims: Dims): Parameter<LastOf<Dims>> =>
  new Parameter(dims.map((d) => dimSize(config, d)), dims.at(-1) as string as LastOf<Dims>);
type LastOf<T extends readonly string[]> = T extends readonly [...string[], infer L extends string] ? L : string;
