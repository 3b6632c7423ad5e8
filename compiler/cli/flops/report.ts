/** The tables of `eemllm flops`: variants side by side, a table for each quantity. Every one says how it is counted. */
import type { DeviceProfile, MathType } from '../../cost/device-profiles.ts';
import { peakOf } from '../../cost/device-profiles.ts';
import type { Bound } from '../../cost/roofline.ts';
import type { Cost } from '../../cost/formula.ts';
import type { Convention } from '../../cost/conventions.ts';
import { milliseconds, percent, si, table } from '../output.ts';
import type { By, GroupCost, VariantCost } from './costs.ts';
import { sumOfBytes } from './costs.ts';

export interface Head {
  readonly model: string;
  readonly convention: Convention;
  /** `576 visual and 64 text tokens, 100 generated`. */
  readonly prompt: string;
  readonly by: By;
  /** How wide numbers lie in memory; whether the scores of attention do. */
  readonly stored: string;
  readonly scores: string;
  readonly device?: { readonly profile: DeviceProfile; readonly math: MathType };
}

export function report(head: Head, costs: readonly VariantCost[]): string {
  const { convention, device } = head, out: string[] = [];
  const section = (title: string, rows: readonly Row[], show: (n: number | bigint) => string): void => {
    if (rows.length) out.push(`${title}\n\n${sideBySide(costs.map((c) => c.name), rows, show)}`);
  };
  section(`${head.model}, ${head.prompt}; FLOPs, convention ${convention.name}: ${convention.says}`,
    head.by === 'part' ? partRows(costs) : [...groupRows(head, costs, (g) => g.flops), { label: 'total', values: costs.map((c) => c.cost.total) }], (n) => si(n));
  section(`bytes moved by the kernels as they are compiled (${head.stored}; scores of attention ${head.scores}):`, byteRows(head, costs), (n) => si(n, 'B'));
  if (device) {
    const { profile, math } = device, peak = `${math} ${si(peakOf(profile, math), 'FLOP/s')}, ${si(profile.bandwidth, 'B/s')}`;
    section(`time at best on ${profile.name} (roofline: ${peak}; ${profile.source}):`, timeRows(head, costs), (n) => milliseconds(Number(n)));
    section(`memory needed for this conversation (${head.stored}):`, memoryRows(costs), (n) => si(n, 'B'));
    for (const c of costs) if (profile.memory !== undefined && c.need && c.need.peak > BigInt(Math.floor(profile.memory))) out.push(`${c.name} does not fit: it needs ${si(c.need.peak, 'B')}, and ${profile.name} has ${si(profile.memory, 'B')}.`);
  }
  const inBundle = costs.filter((c) => c.bundle !== undefined);
  if (inBundle.length) out.push(`weights in a bundle, headers of its files besides: ${inBundle.map((c) => `${c.name} ${c.bundle} bytes (${si(c.bundle!, 'B')})`).join(', ')}.`);
  for (const c of costs) if (c.unstaged !== undefined) out.push(`${c.name} is counted as one pass over the prompt, without entry points: ${c.unstaged}`);
  return `${out.join('\n\n')}\n`;
}

/** One line of a table: a value for each variant, if it has one. */
interface Row { readonly label: string; readonly values: readonly (Value | undefined)[] }

function sideBySide(names: readonly string[], rows: readonly Row[], show: (n: number | bigint) => string): string {
  const cell = (value: number | bigint | undefined, base: number | bigint | undefined, first: boolean): string =>
    (value === undefined ? '' : first || base === undefined ? show(value) : `${show(value)}  ${percent(value, base)}`);
  return table(['', ...names], rows.map(({ label, values }) => [label, ...values.map((v, i) => cell(v, values[0], i === 0))]));
}

function partRows(costs: readonly VariantCost[]): Row[] {
  const rows: readonly (readonly [string, (c: Cost<bigint>) => bigint])[] = [
    ['vision tower', (c) => c.parts.vision], ['projector', (c) => c.parts.projector], ['decoder', (c) => c.parts.decoder],
    ['  visual rows', (c) => c.decoder.visual], ['  text rows', (c) => c.decoder.text], ['  attention scores', (c) => c.decoder.scores],
    ['head', (c) => c.parts.head], ['total', (c) => c.total],
  ];
  return rows.map(([label, of]) => ({ label, values: costs.map((c) => of(c.cost)) }));
}

type Value = number | bigint;
/** Rows for all names that some variant has a value other than zero for, in the order in which they come. */
function namedRows(variants: readonly (readonly (readonly [string, Value | undefined])[])[]): Row[] {
  const labels = [...new Set(variants.flatMap((v) => v.map(([name]) => name)))], maps = variants.map((v) => new Map(v));
  return labels.flatMap((label): Row[] => {
    const values = maps.map((m) => m.get(label) ?? 0);
    return values.some((v) => v) ? [{ label, values }] : [];
  });
}
const groupRows = ({ by }: Head, costs: readonly VariantCost[], of: (g: GroupCost) => Value | undefined): Row[] =>
  namedRows(costs.map((c) => c.groups.map((g) => [labelOf(by, g.name), of(g)])));
const labelOf = (by: By, name: string): string => (by === 'part' && name === 'vision' ? 'vision tower' : name);

const byteRows = (head: Head, costs: readonly VariantCost[]): Row[] => [
  ...groupRows(head, costs, (g) => g.bytes && sumOfBytes(g.bytes)),
  { label: 'total', values: costs.map((c) => sumOfBytes(c.bytes)) }, { label: '  weights read', values: costs.map((c) => c.bytes.weights) },
  { label: '  activations read', values: costs.map((c) => c.bytes.read) }, { label: '  activations written', values: costs.map((c) => c.bytes.written) },
];

function timeRows({ by }: Head, costs: readonly VariantCost[]): Row[] {
  const total = (c: VariantCost, bound?: Bound): number => c.roofline!.kernels.reduce((s, k) => s + (bound === undefined || k.bound === bound ? k.seconds * 1e3 : 0), 0);
  return [
    ...namedRows(costs.map((c) => [...c.times!].map(([name, s]) => [labelOf(by, name), s * 1e3] as const))),
    { label: 'total', values: costs.map((c) => total(c)) }, { label: '  bound by arithmetic', values: costs.map((c) => total(c, 'compute')) },
    { label: '  bound by memory', values: costs.map((c) => total(c, 'memory')) },
  ];
}

const memoryRows = (costs: readonly VariantCost[]): Row[] => (costs.some((c) => c.need) ? [
  { label: 'weights', values: costs.map((c) => c.need?.weights) }, { label: 'KV cache', values: costs.map((c) => c.need?.kvCache) },
  { label: 'visual memory', values: costs.map((c) => c.need?.visualMemory) }, { label: 'arena', values: costs.map((c) => c.need?.arena) },
  { label: 'peak', values: costs.map((c) => c.need?.peak) },
] : []);
