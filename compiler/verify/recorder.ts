/** Collects comparisons with a golden file: each tensor once a run, and at the end what nobody compared. */
import { UserError } from '../ir/errors.ts';
import type { Quantity, Tolerance } from './compare.ts';
import { difference, quantityOf } from './compare.ts';
import type { Golden } from './golden.ts';
import type { TensorResult } from './report.ts';
import { goldenVariants } from './variants.ts';

export class Recorder {
  readonly results: TensorResult[] = [];
  private readonly compared = new Set<string>();
  private readonly reasons = new Map<string, string>();
  constructor(private readonly golden: Golden, private readonly toleranceOf: (quantity: Quantity) => Tolerance) {}

  /**
   * Compares values with a tensor of the golden file, if it has it; `name` is without the case.
   * @throws UserError when the tensor has another number of elements: it belongs to another model.
   */
  async compare(name: string, values: ArrayLike<number>, at: { case?: string; variant?: string } = {}): Promise<void> {
    const tensor = at.case === undefined ? name : `${at.case}.${name}`;
    // What no run gives is the same in every variant.
    if (!this.golden.has(tensor) || (at.variant === undefined && this.compared.has(tensor))) return;
    const shape = this.golden.shape(tensor), size = shape.reduce((a, b) => a * b, 1);
    if (size !== values.length) throw new UserError(`Tensor '${tensor}' of ${this.golden.file} is [${shape.join(', ')}], ${size} values, and the model gives ${values.length}. The golden file belongs to another model.`);
    const plain = at.variant !== undefined && name.startsWith(`${at.variant}.`) ? name.slice(at.variant.length + 1) : name;
    const quantity = quantityOf(plain), { measure, limit: tolerance } = this.toleranceOf(quantity);
    const found = difference(values, await this.golden.read(tensor)), { absolute, relative, rms } = found;
    this.results.push({ tensor, ...at, quantity, shape, absolute, relative, rms, measure, tolerance, ok: found[measure] <= tolerance });
    this.compared.add(tensor);
  }

  has(tensor: string): boolean { return this.compared.has(tensor); }

  /** Notes that a tensor was looked at in another way, or why it cannot be compared. */
  done(tensor: string): void { this.compared.add(tensor); }
  leave(tensor: string, reason: string): void { if (this.golden.has(tensor)) this.reasons.set(tensor, reason); }

  /** Tensors of the golden file that no comparison has met. */
  rest(variants: readonly string[]): { tensor: string; reason: string }[] {
    const { cases } = this.golden.description;
    return this.golden.names.filter((n) => !this.compared.has(n)).map((tensor) => {
      const c = cases.find(({ name }) => tensor.startsWith(`${name}.`)), owner = c && tensor.slice(c.name.length + 1).split('.')[0]!;
      const known = this.reasons.get(tensor);
      if (known !== undefined) return { tensor, reason: known };
      if (!c) return { tensor, reason: 'no case speaks of it' };
      if (owner! in c.variants) return { tensor, reason: (goldenVariants as readonly string[]).includes(owner!) ? (variants.includes(owner!) ? 'this program keeps no such value' : `the variant '${owner}' was not asked for`) : `'${owner}' is no variant of this compiler` };
      if (!variants.some((v) => v in c.variants)) return { tensor, reason: `case '${c.name}' has none of the variants asked for` };
      return { tensor, reason: 'the model has no such value' };
    });
  }
}
