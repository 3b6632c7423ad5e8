/** The roofline of a device (Williams, Waterman and Patterson, CACM 2009) with a mark for every kernel of every variant. */
import * as Plot from '@observablehq/plot';
import type { ProgramCost } from '../cost/program-cost.ts';
import type { Bound } from '../cost/roofline.ts';
import { rooflineTime } from '../cost/roofline.ts';
import { peakOf } from '../cost/device-profiles.ts';
import type { Drawing } from './draw.ts';
import { chart, panels } from './draw.ts';
import type { Figure } from './figure.ts';
import { amount, change, digits, exact, listed, percent, plural } from './format.ts';
import { colour, seriesColour } from './palette.ts';
import type { Study } from './study.ts';

/** Kernels that are alike: the same work in several layers. */
export interface RooflineMark {
  readonly entry: string;
  readonly name: string;
  readonly times: number;
  /** Of each of them, in all its runs. */
  readonly flops: number;
  readonly bytes: number;
  /** FLOPs a byte. */
  readonly intensity: number;
  /** FLOP/s that the device reaches at best at this intensity. */
  readonly attainable: number;
  /** Of all of them. */
  readonly seconds: number;
  readonly bound: Bound;
}
interface Estimate { readonly name: string; readonly marks: readonly RooflineMark[]; readonly seconds: number; readonly byEntry: ReadonlyMap<string, number> }

/** Estimates every kernel of a variant, and puts those together that are alike; those that take longest come first. */
export function rooflineMarks(kernels: ProgramCost, { device: { profile, math }, sizes, generate }: Pick<Study, 'device' | 'sizes' | 'generate'>): Omit<Estimate, 'name'> {
  const all = rooflineTime(kernels, profile, { dims: { V: sizes.visual, T: sizes.text, ...sizes.tower }, images: sizes.images, tiles: sizes.tiles, generate }, { math });
  const peak = peakOf(profile, math), marks = new Map<string, RooflineMark>(), byEntry = new Map<string, number>();
  for (const { entry, name, flops, bytes, seconds, bound } of all.kernels) {
    byEntry.set(entry, (byEntry.get(entry) ?? 0) + seconds);
    if (!flops && !bytes) continue;
    const key = `${entry} ${name} ${flops} ${bytes}`, old = marks.get(key), intensity = bytes ? flops / bytes : Infinity;
    marks.set(key, { entry, name, flops, bytes, intensity, bound, times: (old?.times ?? 0) + 1, seconds: (old?.seconds ?? 0) + seconds, attainable: Math.min(peak, intensity * profile.bandwidth) });
  }
  return { marks: [...marks.values()].sort((x, y) => y.seconds - x.seconds), seconds: all.seconds, byEntry };
}

/** Undefined where no variant can be staged. */
export function rooflineFigure(study: Study): Figure | undefined {
  const { variants, sizesText, device: { profile, math }, generate } = study, { bandwidth } = profile, peak = peakOf(profile, math);
  const all = variants.flatMap(({ name, kernels }): Estimate[] => (typeof kernels === 'string' ? [] : [{ ...rooflineMarks(kernels, study), name }])), [base] = all;
  if (!base) return undefined;
  const entries = [...new Set(all.flatMap((e) => [...e.byEntry].flatMap(([entry, s]) => (s > 0 ? [entry] : []))))], ridge = peak / bandwidth;
  const bound = (e: Estimate): number => e.marks.filter((m) => m.bound === 'memory').reduce((s, m) => s + m.seconds, 0);
  const shown = (m: RooflineMark): boolean => m.flops > 0 && Number.isFinite(m.intensity);
  const intensities = all.flatMap((e) => e.marks.filter(shown).map((m) => m.intensity)), low = Math.min(ridge / 30, ...intensities) / 1.5, high = Math.max(ridge * 8, ...intensities) * 1.5;
  return {
    id: 'roofline', title: `Time at best on ${profile.name}`,
    lead: [...all.map((e, i) => `${e.name} takes at least ${time(e.seconds)}${i ? ` (${change(e.seconds, base.seconds)})` : ''}, ${percent(bound(e), e.seconds)} of it bound by memory.`), `Below ${digits(ridge)} FLOPs a byte a kernel waits for memory.`],
    caption: `Roofline: ${amount(peak, 'FLOP/s')} (${math}) and ${amount(bandwidth, 'B/s')}, from ${profile.source}. Each mark is a kernel as it is fused, or several alike; its area is its share of the time. It stands where it would stand at best, with ${sizesText}${generate ? ` and ${plural(generate, 'generated token')}` : ''}. What is reached in practice is less.`,
    alt: all.map((e) => `${e.name}: ${entries.map((x) => `${x} ${time(e.byEntry.get(x) ?? 0)}`).join(', ')}; most time is taken by ${listed(e.marks.slice(0, 3).map((m) => `${m.name} in ${m.entry} (${percent(m.seconds, e.seconds)}, ${digits(m.intensity)} FLOPs a byte, bound by ${m.bound})`))}`).join('. ') + '.',
    legend: entries.map((label, i) => ({ label, colour: seriesColour(i + 1) })),
    draw: (width) => {
      const columns = width >= 640 && all.length > 1 ? 2 : 1, cell = (width - 28 * (columns - 1)) / columns;
      return panels(all.map((e) => ({ title: e.name, note: `${time(e.seconds)}: ${entries.map((x) => `${x} ${time(e.byEntry.get(x) ?? 0)}`).join(', ')}`, of: roof(e, { width: cell, entries, peak, bandwidth, domain: [low, high], shown }) })), width, columns, 28);
    },
    table: {
      head: ['variant', 'entry point', 'kernel', 'how often', 'FLOPs each', 'bytes each', 'FLOPs a byte', 'bound by', 'time in all', 'share'],
      rows: all.flatMap((e) => e.marks.map((m) => [e.name, m.entry, m.name, exact(m.times), exact(m.flops), exact(Math.round(m.bytes)), Number.isFinite(m.intensity) ? digits(m.intensity) : '–', m.bound, time(m.seconds), percent(m.seconds, e.seconds)])),
    },
  };
}

export const time = (s: number): string => (s === 0 ? '0\u00a0s' : s >= 1 ? `${digits(s)}\u00a0s` : s >= 1e-3 ? `${digits(s * 1e3)}\u00a0ms` : `${digits(s * 1e6)}\u00a0µs`);

interface Frame { readonly width: number; readonly entries: readonly string[]; readonly peak: number; readonly bandwidth: number; readonly domain: readonly [number, number]; readonly shown: (m: RooflineMark) => boolean }

function roof(e: Estimate, { width, entries, peak, bandwidth, domain: [low, high], shown }: Frame): Drawing {
  const ridge = peak / bandwidth, marks = e.marks.filter(shown), least = Math.min(low * bandwidth, peak / 100), powers = (from: number, to: number): number[] => {
    const out: number[] = [];
    for (let k = Math.ceil(Math.log10(from)); k <= Math.floor(Math.log10(to)); k++) out.push(10 ** k);
    return out;
  };
  const height = 260, margins = { marginLeft: 52, marginRight: 10, marginTop: 8, marginBottom: 42 };
  // How steep the roof is drawn: both scales are logarithmic, so it is a straight line.
  const perDecade = (pixels: number, from: number, to: number): number => pixels / Math.log10(to / from);
  const slope = -(180 / Math.PI) * Math.atan(perDecade(height - 50, least, peak * 6) / perDecade(width - 62, low, high));
  return chart({
    width, height, ...margins,
    x: { type: 'log', domain: [low, high] }, y: { type: 'log', domain: [least, peak * 6] }, r: { type: 'sqrt', domain: [0, 1], range: [0, 26] },
    marks: [
      Plot.gridX(powers(low, high), { stroke: colour('line'), strokeOpacity: 1 }), Plot.gridY(powers(least, peak * 6), { stroke: colour('line'), strokeOpacity: 1 }),
      Plot.axisX(powers(low, high), { tickSize: 0, label: 'FLOPs a byte', labelAnchor: 'center', labelArrow: 'none', labelOffset: 36, tickFormat: (v: number) => (v >= 1 ? exact(v) : String(v)) }),
      Plot.axisY(powers(least, peak * 6), { tickSize: 0, label: null, tickFormat: (v: number) => amount(v, '') }),
      Plot.line([[low, low * bandwidth], [ridge, peak], [high, peak]], { stroke: colour('soft'), strokeWidth: 1.5 }),
      Plot.text([[high, peak * 3.6]], { text: [amount(peak, 'FLOP/s')], textAnchor: 'end', dx: -2, fontSize: 11 }),
      Plot.text([[Math.sqrt(low * ridge), Math.sqrt(low * ridge) * bandwidth]], { text: [amount(bandwidth, 'B/s')], rotate: slope, dy: -9, fontSize: 11 }),
      Plot.dot(marks, { x: 'intensity', y: 'attainable', r: (m: RooflineMark) => m.seconds / e.seconds, fill: (m: RooflineMark) => seriesColour(entries.indexOf(m.entry) + 1), fillOpacity: 0.55, stroke: (m: RooflineMark) => seriesColour(entries.indexOf(m.entry) + 1), strokeWidth: 1, title: (m: RooflineMark) => `${m.entry}: ${m.name}${m.times > 1 ? `, ${m.times} times` : ''}; ${digits(m.intensity)} FLOPs a byte, bound by ${m.bound}, ${time(m.seconds)} in all, ${percent(m.seconds, e.seconds)}` }),
    ],
  });
}
