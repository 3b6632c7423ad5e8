/** What memory is needed: what stays for the whole conversation, and what is alive at each step of the compiler's plan. */
import * as Plot from '@observablehq/plot';
import type { MemoryNeed } from '../cost/memory.ts';
import { memoryNeed } from '../cost/memory.ts';
import { compiled } from '../cost/storage.ts';
import type { Drawing } from './draw.ts';
import { chart, panels } from './draw.ts';
import type { Figure } from './figure.ts';
import type { Unit } from './format.ts';
import { amount, change, exact, listed, plural, tick, unitFor } from './format.ts';
import { colour, seriesColour } from './palette.ts';
import type { Study } from './study.ts';

interface Need extends MemoryNeed { readonly name: string }

/** Undefined where no variant can be staged. */
export function memoryFigure({ variants, sizes, sizesText, generate }: Study): Figure | undefined {
  const dims = { V: sizes.visual, T: sizes.text, ...sizes.tower };
  const needs = variants.flatMap(({ name, kernels }): Need[] => (typeof kernels === 'string' ? [] : [{ name, ...memoryNeed(kernels.program, { dims, images: sizes.images, tiles: sizes.tiles, generate }, compiled.f16) }]));
  const [base] = needs;
  if (!base) return undefined;
  const entries = [...new Set(needs.flatMap((n) => n.entries.map((e) => e.entry)))], unit = unitFor(Math.max(...needs.map((n) => n.arena)), 'B');
  const highest = (n: Need): { entry: string; path: string; op: string; live: number } => n.entries.flatMap((e) => e.steps.map((s) => ({ entry: e.entry, ...s }))).reduce((a, b) => (b.live > a.live ? b : a));
  const left = variants.filter((v) => typeof v.kernels === 'string');
  return {
    id: 'memory', title: 'Memory over the steps of the plan',
    lead: needs.map((n, i) => `${n.name} needs ${amount(n.peak, 'B')} at its peak${i ? ` (${change(n.peak, base.peak)})` : ''}: ${amount(n.weights, 'B')} of weights, ${amount(n.kvCache, 'B')} of KV cache${n.visualMemory ? `, ${amount(n.visualMemory, 'B')} of visual memory` : ''} and an arena of ${amount(n.arena, 'B')}.`).concat(left.length ? [`There is no plan of ${listed(left.map((v) => v.name))}: the compiler cannot stage ${left.length > 1 ? 'them' : 'it'}.`] : []),
    caption: `Bytes of the arena's values that are alive at each step, entry point by entry point, with ${sizesText}${generate ? ` and ${plural(generate, 'generated token')}` : ''}. The line is the arena as planned. Weight matrices are f16, all else f32, as compiled.`,
    alt: needs.map((n) => { const top = highest(n); return `${n.name}: ${n.entries.map((e) => `${e.entry} has ${plural(e.steps.length, 'step')} in an arena of ${amount(e.arena, 'B')}`).join(', ')}; most is alive in ${top.entry} at ${top.op}${top.path ? ` of ${top.path}` : ''}, ${amount(top.live, 'B')}`; }).join('. ') + '.',
    legend: entries.map((label, i) => ({ label, colour: seriesColour(i + 1) })),
    draw: (width) => {
      const columns = width >= 640 && needs.length > 1 ? 2 : 1, cell = (width - 28 * (columns - 1)) / columns;
      return panels(needs.map((n) => ({ title: n.name, note: `${unit.name} alive at each step; arena ${amount(n.arena, 'B')}`, of: steps(n, entries, unit, Math.max(...needs.map((x) => x.arena)), cell) })), width, columns, 28);
    },
    table: {
      head: ['bytes', ...needs.flatMap((n, i) => (i ? [n.name, 'change'] : [n.name]))],
      rows: ([
        ['weights', (n) => n.weights], ['KV cache', (n) => n.kvCache], ['visual memory', (n) => n.visualMemory], ['arena', (n) => BigInt(n.arena)],
        ...entries.map((e) => [`  arena of ${e}`, (n: Need) => BigInt(n.entries.find((x) => x.entry === e)?.arena ?? 0)] as const), ['peak, all of it', (n) => n.peak],
      ] as (readonly [string, (n: Need) => bigint])[]).map(([label, of]) => [label, ...needs.flatMap((n, i) => (i ? [exact(of(n)), change(of(n), of(base))] : [exact(of(n))]))]),
    },
  };
}

interface Step { readonly x: number; readonly y: number; readonly entry: string }
interface Span { readonly entry: string; readonly from: number; readonly to: number; readonly arena: number }

function steps(n: Need, entries: readonly string[], unit: Unit, most: number, width: number): Drawing {
  const gap = n.entries.reduce((s, e) => s + e.steps.length, 0) * 0.02, all: Step[] = [], spans: Span[] = [];
  let x = 0;
  for (const e of n.entries) {
    const from = x;
    for (const s of e.steps) all.push({ x: x++, y: s.live / unit.by, entry: e.entry });
    all.push({ x, y: (e.steps.at(-1)?.live ?? 0) / unit.by, entry: e.entry });
    spans.push({ entry: e.entry, from, to: x, arena: e.arena / unit.by });
    x += gap;
  }
  return chart({
    width, height: 190, marginLeft: 38, marginRight: 4, marginTop: 8, marginBottom: 26,
    x: { domain: [0, x - gap], axis: null }, y: { domain: [0, (most / unit.by) * 1.04] },
    marks: [
      Plot.gridY({ stroke: colour('line'), strokeOpacity: 1, ticks: 4 }), Plot.axisY({ tickSize: 0, ticks: 4, label: null, tickFormat: tick }),
      Plot.areaY(all, { x: 'x', y: 'y', z: 'entry', curve: 'step-after', fill: (s: Step) => seriesColour(entries.indexOf(s.entry) + 1) }),
      Plot.ruleY(spans, { x1: 'from', x2: 'to', y: 'arena', stroke: colour('ink'), strokeWidth: 1.25 }),
      Plot.text(spans.filter((s) => ((s.to - s.from) / x) * width > s.entry.length * 7), { x: (s: Span) => (s.from + s.to) / 2, frameAnchor: 'bottom', text: 'entry', dy: 18 }),
    ],
  });
}
