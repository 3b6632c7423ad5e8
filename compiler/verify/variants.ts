/** The variants of golden files that this compiler has, and how it writes them. */
import { UserError } from '../ir/errors.ts';
import { suggest } from '../ir/spelling.ts';
import type { Golden } from './golden.ts';

export const goldenVariants = ['baseline', 'ee_mllm', 'ee_mllm_f'] as const;
export type GoldenVariant = (typeof goldenVariants)[number];

/** The variant's name as `compile --mask` takes it. @throws UserError for an unknown one, or if the golden file does not say its layers. */
export function variantOf(golden: Golden, name: string): string {
  switch (name) {
    case 'baseline': return 'self';
    case 'ee_mllm': return 'composite';
    case 'ee_mllm_f': {
      const layers = golden.description.variant_parameters[name]?.composite_layers;
      if (!layers?.length) throw new UserError(`${golden.file} does not say in which layers '${name}' is composite: 'variant_parameters.${name}.composite_layers' is missing.`);
      return `ee-mllm-f:layers=${layers.join(',')}`;
    }
    default: throw new UserError(`'${name}' is no variant that verify knows.${suggest(name, goldenVariants, 'Known are')}`);
  }
}

/** The variants to verify: those asked for, or all that some case has. */
export function chooseVariants(golden: Golden, asked: readonly string[] | undefined): GoldenVariant[] {
  for (const name of asked ?? []) {
    variantOf(golden, name);
    if (!golden.description.cases.some((c) => name in c.variants)) throw new UserError(`No case of ${golden.file} has the variant '${name}'.${suggest(name, golden.description.cases.flatMap((c) => Object.keys(c.variants)), 'They have')}`);
  }
  return goldenVariants.filter((name) => (asked ? asked.includes(name) : golden.description.cases.some((c) => name in c.variants)));
}
