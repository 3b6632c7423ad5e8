/** Options of variants that a sweep sets: those that a variant of the comparison has and leaves open. */
import { Fraction } from '../../ir/fraction.ts';
import { variants as known } from '../../../models/index.ts';

/** The variants that are joined by `+`, with what each says after its colon. */
const joined = (variant: string): { readonly name: string; readonly options: string }[] => variant.split('+').map((text) => {
  const [name, ...rest] = text.trim().split(':');
  return { name: name!, options: rest.join(':') };
});
const says = (options: string, option: string): boolean => options.split(',').some((o) => o.trim().startsWith(`${option}=`));

/** Options by their own name, and what a sweep's value is there. `layers=8` is the first eight; a `ratio` is the share of rows that goes on. */
const written: Readonly<Record<string, readonly (readonly [option: string, value: (text: string) => string])[]>> = {
  layers: [['layers', (n) => `0-${Number(n) - 1}`]],
  ratio: [['keep', (share) => share], ['r', (share) => String(Fraction.parse(share)!.rest())]],
};
/** The options that a name means: the one of this name, for most. */
const meant = (name: string): (typeof written)[string] => (Object.hasOwn(written, name) ? written[name]! : [[name, (value) => value]]);

/** Names that can be swept of one variant: its own options, and those that mean one of them. A mask of the author's own takes layers. */
function namesOf(variant: string, options: string): string[] {
  const definition = Object.hasOwn(known, variant) ? known[variant]! : undefined;
  const own = [...Object.keys(definition?.options ?? {}), ...(definition?.layers === 'none' ? [] : ['layers'])].filter((o) => !says(options, o));
  return [...own, ...Object.keys(written).filter((name) => meant(name).some(([o]) => own.includes(o)))];
}

/** What may be swept besides sizes. The baseline, first of the comparison, stays as it is, unless it is the only one. */
export const openOptions = (variants: readonly string[]): Set<string> =>
  new Set(variants.slice(variants.length > 1 ? 1 : 0).flatMap((v) => joined(v).flatMap(({ name, options }) => namesOf(name, options))));

/** A variant with an option set, where it has it and leaves it open. In none of the layers a variant is the plain decoder. */
export function withOption(variant: string, option: string, value: string): string {
  const parts = joined(variant).flatMap(({ name, options }) => {
    const open = namesOf(name, options), own = meant(option).find(([o]) => open.includes(o));
    if (!own) return [{ name, options }];
    if (option === 'layers' && value === '0') return [];
    const text = `${own[0]}=${own[1](value)}`;
    return [{ name, options: options ? `${options},${text}` : text }];
  });
  return parts.map(({ name, options }) => (options ? `${name}:${options}` : name)).join('+') || 'self';
}
