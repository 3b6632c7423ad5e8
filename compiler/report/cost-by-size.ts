/** Cost against the size of the picture, for all variants: in FLOPs, and in percent of the baseline. */
import * as Plot from '@observablehq/plot';
import type { Drawing } from './draw.ts';
import { chart, panels } from './draw.ts';
import type { Figure } from './figure.ts';
import { amount, change, exact, percent, tick, unitFor } from './format.ts';
import { colour, seriesColour, seriesDash } from './palette.ts';
import type { SizePoint, Study } from './study.ts';

interface Mark { readonly x: number; readonly y: number; readonly title: string; readonly asked: boolean }

export function costBySize({ bySize: { axis, unit, label, points }, variants, convention, answers }: Study): Figure {
  const names = variants.map((v) => v.name), last = points.at(-1)!, first = points[0]!;
  const flopsUnit = unitFor(Math.max(...points.flatMap((p) => p.costs.map((c) => Number(c.total)))), 'FLOP');
  const marks = (i: number, y: (p: SizePoint) => number, say: (p: SizePoint) => string): Mark[] =>
    points.map((p) => ({ x: p.x, y: y(p), asked: p.asked, title: `${names[i]}, ${exact(p.x)} ${unit} (${exact(p.visual)} visual tokens): ${say(p)}` }));
  const flops = names.map((_n, i) => marks(i, (p) => Number(p.costs[i]!.total) / flopsUnit.by, (p) => amount(p.costs[i]!.total, 'FLOP')));
  const shares = names.map((_n, i) => marks(i, (p) => shareOf(p, i), (p) => `${percent(p.costs[i]!.total, p.costs[0]!.total)} of ${names[0]}`));
  const others = variants.slice(1);
  return {
    id: 'cost-by-size', title: `Cost against the ${axis}`,
    lead: [
      `${first === last ? `At ${exact(first.x)}` : `From ${exact(first.x)} to ${exact(last.x)}`} ${unit}, ${names[0]} ${course(amount(first.costs[0]!.total, 'FLOP'), amount(last.costs[0]!.total, 'FLOP'))}.`,
      ...others.map((v, i) => `${v.name} ${course(...[first, last].map((p) => percent(p.costs[i + 1]!.total, p.costs[0]!.total)) as [string, string])} of that.`),
    ],
    caption: `FLOPs of one ${answers ? 'prefill' : 'pass'}, in the convention ${convention.name}${others.length ? `; percent of ${names[0]} at the same size` : ''}. Each mark is a size that was evaluated; larger marks are the sizes asked for.`,
    alt: `${names.length === 1 ? 'A line' : `${names.length} lines`} over ${axis}: ${names.map((n, i) => `${n} from ${amount(first.costs[i]!.total, 'FLOP')} at ${exact(first.x)} to ${amount(last.costs[i]!.total, 'FLOP')} at ${exact(last.x)} ${unit}`).join('; ')}.`,
    legend: names.map((label, i) => ({ label, colour: seriesColour(i), dash: seriesDash(i) })),
    draw: (width) => {
      const both = others.length > 0, columns = both && width >= 640 ? 2 : 1, cell = columns === 2 ? (width - 32) / 2 : width, height = width >= 640 ? 300 : 230;
      const frame = { width: cell, height, axis: label, points };
      const all = [{ title: flopsUnit.name, of: lines(flops, { ...frame, domain: [0, niceMost(Math.max(...flops.flat().map((m) => m.y)))] }) }];
      if (both) all.push({ title: `percent of ${names[0]}`, of: lines(shares, { ...frame, domain: percentDomain(shares.flat().map((m) => m.y)), names: width >= 640 ? names : [] }) });
      return panels(all, width, columns, 32);
    },
    table: {
      head: [label, 'visual tokens', 'text tokens', 'tiles', ...names.flatMap((n, i) => (i === 0 ? [n] : [n, 'change']))],
      rows: points.map((p) => [exact(p.x), exact(p.visual), exact(p.text), exact(p.tiles), ...p.costs.flatMap((c, i) => (i === 0 ? [exact(c.total)] : [exact(c.total), change(c.total, p.costs[0]!.total)]))]),
    },
  };
}

const course = (from: string, to: string): string => (from === to ? `takes ${from}` : `goes from ${from} to ${to}`);
const shareOf = (p: SizePoint, i: number): number => (p.costs[0]!.total === 0n ? 100 : (100 * Number(p.costs[i]!.total)) / Number(p.costs[0]!.total));

interface Frame { readonly width: number; readonly height: number; readonly axis: string; readonly points: readonly SizePoint[]; readonly domain: readonly [number, number]; readonly names?: readonly string[] }

/** The least round number that is not less. */
function niceMost(most: number): number {
  const step = 10 ** Math.floor(Math.log10(most || 1)) / 2;
  return Math.ceil(most / step) * step;
}
function percentDomain(shares: readonly number[]): [number, number] {
  const least = Math.min(...shares), step = least > 70 ? 5 : 20;
  return [Math.max(0, Math.floor((least - step / 5) / step) * step), Math.max(100, Math.ceil(Math.max(...shares) / 10) * 10)];
}
/** Positions moved apart to be `gap` from each other, in their order, none beyond `most`. */
function spread(positions: readonly number[], gap: number, most: number): number[] {
  const order = positions.map((y, i) => ({ y, i })).sort((a, b) => a.y - b.y), out: number[] = [];
  for (let k = 1; k < order.length; k++) order[k]!.y = Math.max(order[k]!.y, order[k - 1]!.y + gap);
  for (let k = order.length - 1; k >= 0; k--) order[k]!.y = Math.min(order[k]!.y, order[k + 1] ? order[k + 1]!.y - gap : most);
  for (const { y, i } of order) out[i] = y;
  return out;
}

function lines(all: readonly (readonly Mark[])[], { width, height, axis, points, domain, names = [] }: Frame): Drawing {
  const xs = points.map((p) => p.x), ticks = ticksOf(points.filter((p) => p.asked).map((p) => p.x), xs, width), [least, most] = domain;
  const room = names.length ? Math.min(140, 16 + Math.max(...names.map((n) => n.length)) * 6.6) : 14, inner = height - 56;
  // Names at the ends of their lines, as far as they have room.
  const perPixel = (most - least) / inner, ends = spread(all.map((marks) => (most - marks.at(-1)!.y) / perPixel), 14, inner - 6).map((y, i) => ({ x: Math.max(...xs), y: most - y * perPixel, name: names[i]! }));
  return chart({
    width, height, marginLeft: 38, marginRight: room, marginTop: 10, marginBottom: 46,
    x: { domain: [Math.min(...xs), Math.max(...xs)], insetLeft: 8, insetRight: 8 }, y: { domain: [least, most] },
    marks: [
      Plot.gridY({ stroke: colour('line'), strokeOpacity: 1 }), Plot.axisY({ tickSize: 0, label: null, ticks: 5, tickFormat: tick }),
      Plot.axisX(ticks, { tickSize: 4, label: axis, labelAnchor: 'center', labelArrow: 'none', labelOffset: 38, tickFormat: (v: number) => exact(v) }),
      ...all.flatMap((marks, i) => [
        Plot.line(marks, { x: 'x', y: 'y', stroke: seriesColour(i), strokeWidth: 2, strokeDasharray: seriesDash(i) }),
        Plot.dot(marks, { x: 'x', y: 'y', fill: seriesColour(i), r: (m: Mark) => (m.asked ? 4 : 2), title: 'title' }),
      ]),
      ...(names.length ? [Plot.text(ends, { x: 'x', y: 'y', text: 'name', textAnchor: 'start', dx: 10, fill: (_e, i) => seriesColour(i), lineWidth: (room - 12) / 12, textOverflow: 'ellipsis' })] : []),
    ],
  });
}

/** Sizes that were asked for, as far as their labels have room; else some of all. */
function ticksOf(asked: readonly number[], all: readonly number[], width: number): number[] {
  const least = Math.min(...all), span = Math.max(...all) - least || 1, room = 46 / (width - 68), kept: number[] = [];
  for (const x of [...new Set(asked.length > 1 ? asked : all)]) if (kept.every((k) => Math.abs(k - x) / span >= room)) kept.push(x);
  return kept;
}
