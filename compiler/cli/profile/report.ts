/** A profile in groups, beside what the device could do at best. */
import type { MathType } from '../../cost/device-profiles.ts';
import { peakOf } from '../../cost/device-profiles.ts';
import type { ChosenDevice } from '../device.ts';
import { milliseconds, percent, si, table } from '../output.ts';
import type { Profile, ProfiledDispatch, ProfiledEntry } from './profile.ts';

export interface Group {
  readonly name: string;
  readonly dispatches: number;
  readonly seconds: number;
  readonly flops: number;
  readonly bytes: number;
  /** Seconds at best: of each dispatch the longer of its FLOPs at the peak and its bytes at the bandwidth. */
  readonly atBest: number;
}

/** What dispatches are grouped by. */
export const groupings: Readonly<Record<'kernel' | 'part' | 'layer', (d: ProfiledDispatch) => string>> = {
  kernel: (d) => `${d.label} (${d.family})`,
  part: (d) => d.path.replace(/\.\d+(?=\.|$)/g, '.*') || '(the model)',
  layer: (d) => /^.*?\.\d+(?=\.|$)/.exec(d.path)?.[0] ?? (d.path || '(the model)'),
};
export type Grouping = keyof typeof groupings;

/** Groups of an entry's dispatches, in the order of their first one. */
export function groupsOf(entry: ProfiledEntry, by: Grouping, { profile, math }: ChosenDevice): Group[] {
  const peak = peakOf(profile, math), groups = new Map<string, Group>();
  for (const d of entry.dispatches) {
    const name = groupings[by](d), old = groups.get(name) ?? { name, dispatches: 0, seconds: 0, flops: 0, bytes: 0, atBest: 0 };
    groups.set(name, { name, dispatches: old.dispatches + 1, seconds: old.seconds + d.seconds, flops: old.flops + d.flops, bytes: old.bytes + d.bytes, atBest: old.atBest + Math.max(d.flops / peak, d.bytes / profile.bandwidth) });
  }
  return [...groups.values()];
}

const mathText: Readonly<Record<MathType, string>> = { f32: 'f32', f16: 'f16', int8: 'int8' };

export function profileText(p: Profile, device: ChosenDevice, by: Grouping, adapter: string): string {
  const { size, entries } = p, { profile, math } = device, ms = (s: number): string => milliseconds(s * 1e3);
  const head = [
    `${adapter}, program ${p.target}: ${size.visual} visual and ${size.text} text rows, ${size.generate} tokens generated; medians of ${p.repeat} runs`,
    p.exact ? 'Times are timestamps of the device, one pass a dispatch; the column "in one pass" is the whole step as it usually runs, by the host\'s clock.'
      : 'The device has no timestamps (timestamp-query): times are the host\'s, each dispatch submitted alone and waited for, so short ones look longer than they are.',
    ...(p.weights ? [] : ['The bundle has no weights: they are made up, and no result means anything.']),
    `Best: ${profile.name}, ${si(peakOf(profile, math), 'FLOP/s')} in ${mathText[math]}, ${si(profile.bandwidth, 'B/s')}.`,
  ];
  const whole = table(['step', 'runs', 'dispatches', 'sum of dispatches', 'in one pass', 'FLOP/s', 'B/s', 'of the best'], entries.map((e) => {
    const groups = groupsOf(e, 'kernel', device), sum = (of: 'flops' | 'bytes' | 'atBest'): number => groups.reduce((s, g) => s + g[of], 0);
    return [e.name, String(e.times), String(e.dispatches.length), ms(e.seconds), ms(e.together), si(sum('flops') / e.seconds), si(sum('bytes') / e.seconds), percent(sum('atBest'), e.seconds)];
  }));
  const parts = entries.map((e) => [
    '', `${e.name}, by ${by}`,
    table([by, 'dispatches', 'time', 'share', 'FLOP/s', 'B/s', 'of the best'], groupsOf(e, by, device).sort((a, b) => b.seconds - a.seconds)
      .map((g) => [g.name, String(g.dispatches), ms(g.seconds), percent(g.seconds, e.seconds), g.flops ? si(g.flops / g.seconds) : '–', si(g.bytes / g.seconds), percent(g.atBest, g.seconds)])),
  ].join('\n'));
  return [...head, '', whole, ...parts].join('\n') + '\n';
}

/** Everything as numbers: seconds, FLOPs, bytes. */
export function profileJson(p: Profile, device: ChosenDevice, adapter: { readonly name: string; readonly kind: string; readonly toggles: readonly string[] }) {
  return {
    adapter, best: { name: device.profile.name, math: device.math, flops: peakOf(device.profile, device.math), bandwidth: device.profile.bandwidth },
    target: p.target, clock: p.exact ? 'device' : 'host', weights: p.weights, ...p.size, repeat: p.repeat,
    entries: p.entries.map((e) => ({ ...e, ...Object.fromEntries((Object.keys(groupings) as Grouping[]).map((by) => [`by_${by}`, groupsOf(e, by, device)])) })),
  };
}
