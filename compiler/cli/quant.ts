/** `--quant` and `--keep`: which weights are stored in fewer bits, and what that cost. */
import { InvalidArgumentError, Option } from 'commander';
import type { QuantiseRules } from '../../passes/quantise.ts';
import type { QuantisationReport } from '../bundle/quantisation-report.ts';
import { UserError } from '../ir/errors.ts';
import type { QuantisedFormat, WeightFormat } from '../ir/weight-format.ts';
import { int4Groups, isQuantised, parseWeightFormat } from '../ir/weight-format.ts';
import { percent, si, table } from './output.ts';

/** A rule as written; without a format, the compilation's own dtype is meant. */
interface WrittenRule { readonly pattern: string; readonly format?: string }
export interface QuantFlags { quant?: QuantisedFormat; keep?: readonly WrittenRule[] }

export const quantOption = (): Option => new Option('--quant <format>', `store the decoder's matrices in fewer bits: int8 (a scale a row), or int4[:group=${int4Groups.join('|')}][,asymmetric] (a scale, and if asymmetric an offset, for every so many elements of a row; 32 by default). Embeddings, head, projector and vision tower stay in --dtype unless --keep says otherwise, vectors in f32`).argParser(quantFormat);
export const keepOption = (): Option => new Option('--keep <rules>', 'with --quant, the format of some weights: PATTERN[:f32|f16|int8|int4],… by parts of module paths, as in lm_head,layers.0,self_attn.v_proj:int8; * stands for any one part, and the first rule that fits counts').argParser(keepRules);

function quantFormat(text: string): QuantisedFormat {
  const format = parseWeightFormat(text);
  if (format && isQuantised(format)) return format;
  throw new InvalidArgumentError(format ? `${text} is not quantised; --dtype ${text} stores every matrix so.` : 'Known are int8 and int4, with group=32, 64 or 128 and symmetric or asymmetric, as in int4:group=64,asymmetric.');
}

function keepRules(text: string, before: readonly WrittenRule[] = []): WrittenRule[] {
  return [...before, ...text.split(',').map((item): WrittenRule => {
    const [pattern, format, ...more] = item.trim().split(':');
    if (!pattern || more.length || pattern.split('.').some((part) => part === '')) throw new InvalidArgumentError(`'${item}' is no rule. A rule is a pattern, and a format behind a colon: lm_head, or vision_tower:f16.`);
    if (format !== undefined && !['f32', 'f16', 'int8', 'int4'].includes(format)) throw new InvalidArgumentError(`'${format}' is no format. After a pattern stands f32, f16, int8 or int4.`);
    return { pattern, ...(format === undefined ? {} : { format }) };
  })];
}

/** The rules that the flags mean. @throws UserError for --keep without --quant. */
export function quantiseRules({ quant, keep = [] }: QuantFlags, dtype: 'f32' | 'f16'): QuantiseRules | undefined {
  if (!quant) {
    if (keep.length) throw new UserError('--keep says which weights --quant leaves in another format, and there is no --quant. Add one (--quant int8), or leave --keep out.');
    return undefined;
  }
  const named = (text: string | undefined): WeightFormat => (text === undefined ? { kind: dtype } : text === quant.kind ? quant : parseWeightFormat(text)!);
  return { format: quant, keep: keep.map(({ pattern, format }) => ({ pattern, format: named(format) })) };
}

/** Tensors that are listed without --json; the rest differ less. */
const listed = 12;

/** The report for people. */
export function describeQuantisation(r: QuantisationReport, dtype: string): string {
  const saved = `weights ${si(r.bytes, 'B')} instead of ${si(r.plainBytes, 'B')} in ${dtype} (${percent(r.plainBytes - r.bytes, r.plainBytes)} saved)`;
  if (!r.tensors.some((t) => t.relativeRms !== undefined)) return `${r.tensors.length} matrices quantised: ${saved}\n`;
  const rows = r.tensors.slice(0, listed).map((t) => [t.tensor, t.format, percent(t.relativeRms!, 1), t.worst!.toPrecision(2), t.largest!.toPrecision(2), si(t.plainBytes - t.bytes, 'B')]);
  const rest = r.tensors.length - rows.length;
  return `${r.tensors.length} matrices quantised: ${saved}\n${table(['largest error first', 'format', 'relative RMS', 'worst', 'of at most', 'saved'], rows)}\n${rest > 0 ? `… and ${rest} more, with smaller errors (--json lists all)\n` : ''}`;
}
