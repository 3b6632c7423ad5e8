/** What each pass removed: FLOPs that are left after each, from the definition as written to what is staged. */
import * as Plot from '@observablehq/plot';
import type { Drawing } from './draw.ts';
import { chart, panels } from './draw.ts';
import type { Figure } from './figure.ts';
import type { Unit } from './format.ts';
import { amount, change, exact, listed, percent, plural, tick, unitFor } from './format.ts';
import { colour } from './palette.ts';
import type { PassStep, Study, VariantStudy } from './study.ts';

interface Row { readonly label: string; readonly from: number; readonly to: number; readonly text: string; readonly title: string }

/** Steps that took FLOPs away, in the pass's order; `constants` and the like may come twice. */
const removing = (passes: readonly PassStep[]): PassStep[] => passes.filter((p) => p.after.flops < p.before.flops);

export function passesFigure({ variants, sizesText }: Study): Figure {
  const all = variants.map((v) => ({ v, first: v.passes[0]?.before, last: v.passes.at(-1)?.after })).filter((x) => x.first && x.last) as { v: VariantStudy; first: PassStep['before']; last: PassStep['after'] }[];
  const most = Math.max(...all.map((x) => Number(x.first.flops))), unit = unitFor(most, 'FLOP');
  const biggest = (passes: readonly PassStep[]): PassStep | undefined => removing(passes).sort((a, b) => Number(b.before.flops - b.after.flops - (a.before.flops - a.after.flops)))[0];
  return {
    id: 'passes', title: 'What each pass removed',
    lead: all.map(({ v, first, last }) => {
      const big = biggest(v.passes);
      return `${v.name}: ${amount(first.flops, 'FLOP')} as written, ${amount(last.flops, 'FLOP')} left (${change(last.flops, first.flops)})${big ? `; ${big.pass} takes most, ${amount(big.before.flops - big.after.flops, 'FLOP')}` : ''}.`;
    }),
    caption: `FLOPs with ${sizesText}: 2 per multiply-add, every query against every key of an attention, as a kernel that knows no mask computes them. Passes that took no FLOPs are in the table.`,
    alt: all.map(({ v, first, last }) => `${v.name}: ${amount(first.flops, 'FLOP')} as written; ${removing(v.passes).map((p) => `${p.pass} takes ${amount(p.before.flops - p.after.flops, 'FLOP')}`).join('; ') || 'no pass takes any'}; ${amount(last.flops, 'FLOP')} left`).join('. ') + '.',
    legend: [{ label: 'left', colour: colour('series-0') }, { label: 'removed by this pass', colour: colour('accent') }],
    draw: (width) => {
      const columns = width >= 640 && all.length > 1 ? 2 : 1, cell = (width - 32 * (columns - 1)) / columns;
      return panels(all.map(({ v, first, last }) => ({ title: v.name, note: `${unit.name}; ${plural(first.ops, 'op')} as written, ${exact(last.ops)} left`, of: waterfall(rowsOf(v, first, last), most, unit, cell) })), width, columns, 32);
    },
    table: {
      head: ['variant', 'pass', 'ops before', 'ops after', 'FLOPs before', 'FLOPs after', 'change', 'bytes moved before', 'bytes moved after'],
      rows: all.flatMap(({ v }) => v.passes.map((p) => [v.name, p.pass, exact(p.before.ops), exact(p.after.ops), exact(p.before.flops), exact(p.after.flops), change(p.after.flops, p.before.flops), exact(p.before.bytes), exact(p.after.bytes)])),
    },
  };
}

function rowsOf(v: VariantStudy, first: PassStep['before'], last: PassStep['after']): Row[] {
  const whole = (label: string, x: PassStep['before']): Row => ({ label, from: 0, to: Number(x.flops), text: amount(x.flops, 'FLOP'), title: `${label}: ${amount(x.flops, 'FLOP')}, ${plural(x.ops, 'op')}` });
  return [
    whole('as written', first),
    ...removing(v.passes).map((p) => ({ label: p.pass, from: Number(p.after.flops), to: Number(p.before.flops), text: `−${amount(p.before.flops - p.after.flops, 'FLOP')}`, title: `${p.pass} removes ${amount(p.before.flops - p.after.flops, 'FLOP')}, ${percent(p.before.flops - p.after.flops, first.flops)} of what was written: ${listed([`${exact(p.before.ops)} ops before`, `${exact(p.after.ops)} after`])}` })),
    whole('left', last),
  ];
}

function waterfall(rows: readonly Row[], most: number, unit: Unit, width: number): Drawing {
  const label = 104, value = 88;
  return chart({
    width, height: rows.length * 26 + 30, marginLeft: label, marginRight: value, marginTop: 2, marginBottom: 28,
    x: { domain: [0, most / unit.by] }, y: { domain: rows.map((_r, i) => i), axis: null, padding: 0.28 },
    marks: [
      Plot.gridX({ stroke: colour('line'), strokeOpacity: 1, ticks: 4 }),
      Plot.axisX({ tickSize: 0, ticks: 4, label: null, tickFormat: tick }),
      Plot.barX(rows, { x1: 0, x2: (r: Row) => r.from / unit.by, y: (_r, i) => i, fill: colour('line') }),
      Plot.barX(rows, { x1: (r: Row) => r.from / unit.by, x2: (r: Row) => r.to / unit.by, y: (_r, i) => i, fill: (_r, i) => colour(i === 0 || i === rows.length - 1 ? 'series-0' : 'accent'), rx: 1.5, title: 'title' }),
      Plot.text(rows, { frameAnchor: 'left', y: (_r, i) => i, text: 'label', textAnchor: 'end', dx: -8, fill: colour('ink') }),
      Plot.text(rows, { frameAnchor: 'right', y: (_r, i) => i, text: 'text', textAnchor: 'end', dx: value - 2, fontVariant: 'tabular-nums' }),
    ],
  });
}
