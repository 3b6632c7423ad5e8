/** The same FLOPs layer by layer: tower, projector, decoder and head from left to right, with the baseline's height drawn over each variant. */
import * as Plot from '@observablehq/plot';
import type { Part } from '../cost/conventions.ts';
import type { Drawing } from './draw.ts';
import { chart, panels } from './draw.ts';
import type { Figure } from './figure.ts';
import type { Unit } from './format.ts';
import { amount, change, exact, ranges, tick, unitFor } from './format.ts';
import { colour } from './palette.ts';
import type { LayerRole } from './roles.ts';
import { layerRoles, roleLabels } from './roles.ts';
import type { Column, Spent } from './spent.ts';
import { spentBy } from './spent.ts';
import type { Study } from './study.ts';

const partLabels: Readonly<Record<Part, string>> = { vision: 'vision tower', projector: 'projector', decoder: 'decoder', head: 'head' };
const nameOf = (c: Column): string => (c.layer === undefined ? (c.part === 'head' || c.part === 'projector' ? partLabels[c.part] : `${partLabels[c.part]}, outside the layers`) : `${partLabels[c.part]}, layer ${c.layer}`);
const keyOf = (c: Column): string => `${c.part} ${c.layer ?? ''}`;

interface Placed { readonly x: number; readonly column: Column }
interface Rect { readonly x1: number; readonly x2: number; readonly y1: number; readonly y2: number; readonly role: LayerRole; readonly title: string }

export function flopsByLayer({ variants, sizes, sizesText, convention }: Study): Figure {
  const spent = variants.map((v) => ({ name: v.name, ...spentBy(v, sizes) })), base = spent[0]!;
  const keys = [...new Set(spent.flatMap((s) => s.columns.map(keyOf)))], most = Math.max(...spent.flatMap((s) => s.columns.map((c) => Number(c.total)))), unit = unitFor(most, 'FLOP');
  const place = placesOf(keys), at = (s: Spent, key: string): Column | undefined => s.columns.find((c) => keyOf(c) === key);
  const fewer = spent.slice(1).map((s) => ({ name: s.name, layers: s.columns.filter((c) => c.part === 'decoder' && c.layer !== undefined && c.total < (at(base, keyOf(c))?.total ?? 0n)).map((c) => c.layer!) }));
  const last = [...base.columns].reverse().find((c) => c.part === 'decoder' && c.layer !== undefined), before = last && at(base, `decoder ${last.layer! - 1}`);
  return {
    id: 'flops-by-layer', title: 'Layer by layer',
    lead: [...fewer.map(({ name, layers }) => (layers.length ? `${name} does less in ${layers.length} decoder layers (${ranges(layers)})` : `${name} does as much in every decoder layer`) + '.'),
      ...(last && before && last.total < before.total ? [`In ${base.name}, too, layer ${last.layer} costs less than the one before it (${change(last.total, before.total)}): little of its result is read.`] : [])],
    caption: `FLOPs of each layer, from the first of the tower to the last of the decoder, with ${sizesText}; convention ${convention.name}. Lines show the height of ${base.name}.`,
    alt: `Stacked columns, one for each layer. ${spent.map((s) => `${s.name}: ${groupsOf(s.columns).map((g) => `${g.name} ${amount(g.total, 'FLOP')} each`).join(', ')}`).join('. ')}.`,
    legend: layerRoles.filter((r) => spent.some((s) => s.columns.some((c) => c.flops.has(r)))).map((r) => ({ label: r === 'forward' ? 'feed-forward and other maps' : roleLabels[r], colour: colour(`role-${r}`) })),
    draw: (width) => {
      const columns = width >= 640 && spent.length > 3 ? 2 : 1, cell = (width - 24 * (columns - 1)) / columns;
      return panels(spent.map((s, i) => ({
        title: s.name, note: `${unit.name} of each layer; ${amount(s.total, 'FLOP')} in all${i === 0 ? '' : `, ${change(s.total, base.total)}`}`,
        of: columnsChart(keys.flatMap((k) => { const column = at(s, k); return column ? [{ x: place.x.get(k)!, column }] : []; }),
          i === 0 ? [] : base.columns.map((column) => ({ x: place.x.get(keyOf(column))!, column })), { width: cell, most, unit, ...place }),
      })), width, columns);
    },
    table: {
      head: ['', ...spent.flatMap((s, i) => (i === 0 ? [`${s.name}, FLOPs`] : [`${s.name}, FLOPs`, 'change']))],
      rows: keys.map((k) => [nameOf(spent.map((s) => at(s, k)).find((c) => c)!), ...spent.flatMap((s, i) => {
        const own = at(s, k)?.total ?? 0n;
        return i === 0 ? [exact(own)] : [exact(own), change(own, at(base, k)?.total ?? 0n)];
      })]),
    },
  };
}

interface Places { readonly x: ReadonlyMap<string, number>; readonly end: number; readonly parts: readonly { readonly part: Part; readonly from: number; readonly to: number }[] }
/** Columns from left to right, with a gap between parts. */
function placesOf(keys: readonly string[]): Places {
  const x = new Map<string, number>(), parts: { part: Part; from: number; to: number }[] = [];
  const order: readonly Part[] = ['vision', 'projector', 'decoder', 'head'], sorted = order.flatMap((p) => keys.filter((k) => k.startsWith(`${p} `)));
  let at = 0;
  for (const key of sorted) {
    const part = key.split(' ')[0] as Part, last = parts.at(-1);
    if (last?.part === part) last.to = at + 1;
    else { if (last) at += 1; parts.push({ part, from: at, to: at + 1 }); }
    x.set(key, at++);
  }
  return { x, end: at, parts };
}

/** Columns of equal cost, for the text. */
function groupsOf(columns: readonly Column[]): { name: string; total: bigint }[] {
  const out: { part: Part; layers: number[]; total: bigint; name: string }[] = [];
  for (const c of columns) {
    const last = out.at(-1);
    if (c.layer !== undefined && last?.part === c.part && last.total === c.total && last.layers.length) last.layers.push(c.layer);
    else out.push({ part: c.part, layers: c.layer === undefined ? [] : [c.layer], total: c.total, name: nameOf(c) });
  }
  return out.map((g) => (g.layers.length > 1 ? { name: `${partLabels[g.part]}, layers ${ranges(g.layers)}`, total: g.total } : g));
}

interface Frame extends Places { readonly width: number; readonly most: number; readonly unit: Unit }
function columnsChart(all: readonly Placed[], ghosts: readonly Placed[], { width, most, unit, end, parts }: Frame): Drawing {
  const rects: Rect[] = all.flatMap(({ x, column }) => {
    let y = 0;
    return layerRoles.filter((r) => column.flops.has(r)).map((role) => {
      const y1 = y, flops = column.flops.get(role)!;
      y += Number(flops) / unit.by;
      return { x1: x, x2: x + 1, y1, y2: y, role, title: `${nameOf(column)}, ${roleLabels[role]}: ${amount(flops, 'FLOP')} of ${amount(column.total, 'FLOP')}` };
    });
  });
  const step = [1, 2, 4, 8, 16, 32].find((s) => (end / s) * 26 < width) ?? 64;
  const numbers = all.filter(({ column: c }) => c.layer !== undefined && c.layer % step === 0);
  return chart({
    width, height: 176, marginLeft: 38, marginRight: 4, marginTop: 8, marginBottom: 44,
    x: { domain: [0, end], axis: null }, y: { domain: [0, (most / unit.by) * 1.02] },
    marks: [
      Plot.gridY({ stroke: colour('line'), strokeOpacity: 1, ticks: 4 }), Plot.axisY({ tickSize: 0, ticks: 4, label: null, tickFormat: tick }),
      Plot.rect(rects, { x1: 'x1', x2: 'x2', y1: 'y1', y2: 'y2', fill: (r: Rect) => colour(`role-${r.role}`), insetLeft: 0.4, insetRight: 0.4, title: 'title' }),
      Plot.ruleY(ghosts, { x1: (p: Placed) => p.x, x2: (p: Placed) => p.x + 1, y: (p: Placed) => Number(p.column.total) / unit.by, stroke: colour('ink'), strokeWidth: 1.25 }),
      Plot.text(numbers, { x: (p: Placed) => p.x + 0.5, frameAnchor: 'bottom', text: (p: Placed) => String(p.column.layer), dy: 15, fontSize: 11 }),
      Plot.link(parts, { x1: 'from', x2: 'to', y1: 0, y2: 0, stroke: colour('soft'), strokeWidth: 1.25 }),
      Plot.text(parts.filter((p) => (p.to - p.from) * (width / end) > 40), { x: (p: Places['parts'][number]) => (p.from + p.to) / 2, frameAnchor: 'bottom', text: (p: Places['parts'][number]) => partLabels[p.part], dy: 33 }),
    ],
  });
}
