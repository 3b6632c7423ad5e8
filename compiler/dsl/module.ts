import { UserError } from '../ir/errors.ts';
import type { AnyParameter } from './parameter.ts';
import { Parameter } from './parameter.ts';

/**
 * A part of a model, written as in PyTorch: attributes hold its parts, `forward` says what it computes. The path of an
 * attribute is the name of its tensors in the checkpoint, so `self.mlp.up_proj` is `mlp.up_proj.weight`.
 *
 * `cfg` is set before the attributes of a subclass are, so they need no constructor:
 * `up_proj = new Linear(this.cfg, 'hidden_size', 'intermediate_size')`.
 */
export abstract class Module<Config = unknown> {
  constructor(readonly cfg: Config) {}
  /** What the module computes, written once: no cache, no prefill and decode. Call it as `this.mlp.forward(x)`. */
  abstract forward(...inputs: never[]): unknown;
}

/** A parameter of a model with its checkpoint name. `shape` is the checkpoint's, `view` the graph's. */
export interface NamedParameter {
  readonly name: string;
  readonly parameter: AnyParameter;
  readonly shape: readonly number[];
  readonly view: readonly number[];
}

export interface Parts {
  /** Every module by its path; the model itself is ''. */
  readonly modules: ReadonlyMap<string, Module>;
  /** Every parameter once, under its first path: a tied weight is stored once. */
  readonly parameters: readonly NamedParameter[];
}

/**
 * Walks the attributes of a model, in the order of their declaration: modules, parameters, and arrays and plain objects
 * of these. Throws a UserError when one module stands at two attributes, since its tensors would have two names.
 */
export function parts(model: Module): Parts {
  const modules = new Map<string, Module>(), paths = new Map<object, string>(), parameters: NamedParameter[] = [];
  const visit = (value: unknown, path: string): void => {
    if (typeof value !== 'object' || value === null) return;
    const before = paths.get(value);
    if (before !== undefined) {
      if (value instanceof Module) throw new UserError(`One ${value.constructor.name} stands at two attributes, '${before || 'the model itself'}' and '${path}', so its tensors would have two names. Make two of them, or share the parameter that they have in common.`);
      return;
    }
    if (value instanceof Parameter) {
      paths.set(value, path);
      parameters.push({ name: path, parameter: value, shape: value.shape, view: value.view });
    } else if (value instanceof Module || Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype) {
      paths.set(value, path);
      if (value instanceof Module) modules.set(path, value);
      for (const [name, part] of Object.entries(value))
        if (!(value instanceof Module && name === 'cfg')) visit(part, path ? `${path}.${name}` : name);
    }
  };
  visit(model, '');
  return { modules, parameters };
}

/** Every parameter of a model by checkpoint name, read or not: what a checkpoint of it holds. */
export const parameters = (model: Module): readonly NamedParameter[] => parts(model).parameters;

/** How many numbers the parameters hold. */
export const countParameters = (model: Module): number =>
  parameters(model).reduce((sum, p) => sum + p.shape.reduce((a, b) => a * b, 1), 0);
