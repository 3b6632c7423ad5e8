/** What the FLOPs of each variant were spent on: one bar each, cut by part and by role in the layer. */
import * as Plot from '@observablehq/plot';
import { chart } from './draw.ts';
import type { Figure } from './figure.ts';
import { amount, change, exact, listed, percent, tick, unitFor } from './format.ts';
import { colour } from './palette.ts';
import type { Role } from './roles.ts';
import { roleLabels, roles } from './roles.ts';
import { spentBy } from './spent.ts';
import type { Study } from './study.ts';

interface Piece { readonly name: string; readonly x1: number; readonly x2: number; readonly role: Role; readonly title: string }

export function flopsByRole({ variants, sizes, sizesText, convention }: Study): Figure {
  const spent = variants.map((v) => ({ name: v.name, ...spentBy(v, sizes) })), base = spent[0]!;
  const present = roles.filter((r) => spent.some((s) => s.byRole.has(r))), of = (s: (typeof spent)[number], r: Role): bigint => s.byRole.get(r) ?? 0n;
  const largest = [...base.byRole].sort((a, b) => Number(b[1] - a[1])).slice(0, 2);
  const pieces: Piece[] = spent.flatMap((s) => {
    let x = 0;
    return present.filter((r) => of(s, r) > 0n).map((role) => {
      const x1 = x, flops = of(s, role);
      x += Number(flops);
      return { name: s.name, x1, x2: x, role, title: `${s.name}, ${roleLabels[role]}: ${amount(flops, 'FLOP')}, ${percent(flops, s.total)} of its work` };
    });
  });
  const saved = spent.slice(1).map((s) => {
    const less = present.filter((r) => of(s, r) < of(base, r)).sort((a, b) => Number(of(base, b) - of(s, b) - of(base, a) + of(s, a)));
    return less.length ? `${s.name} saves most in ${listed(less.slice(0, 2).map((r) => `${roleLabels[r]} (${change(of(s, r), of(base, r))})`))}` : `${s.name} saves nothing here`;
  });
  const most = Math.max(...spent.map((s) => Number(s.total)));
  return {
    id: 'flops-by-role', title: 'Where each FLOP went',
    lead: [`Of ${base.name}, ${listed(largest.map(([r, n]) => `${percent(n, base.total)} is ${roleLabels[r]}`))}.`, ...saved.map((s) => `${s}.`)],
    caption: `FLOPs with ${sizesText}, convention ${convention.name}. Roles are read off the graph: what makes an attention's queries is its Q projection, whatever it is called.`,
    alt: spent.map((s) => `${s.name}: ${present.filter((r) => of(s, r) > 0n).map((r) => `${roleLabels[r]} ${percent(of(s, r), s.total)}`).join(', ')} of ${amount(s.total, 'FLOP')}`).join('. ') + '.',
    legend: present.map((r) => ({ label: roleLabels[r], colour: colour(`role-${r}`) })),
    draw: (width) => {
      const each = 58, unit = unitFor(most, 'FLOP');
      return chart({
        width, height: spent.length * each + 26, marginLeft: 0, marginRight: 8, marginTop: 0, marginBottom: 26,
        x: { domain: [0, most * 1.001] }, y: { domain: spent.map((s) => s.name), axis: null, padding: 0 },
        marks: [
          Plot.axisX({ ticks: width >= 640 ? 8 : 4, tickSize: 4, label: null, tickFormat: (v: number, i: number) => `${tick(v / unit.by)}${i === 0 ? ` ${unit.name}` : ''}`, textAnchor: 'start', dx: -2 }),
          Plot.rect(pieces, { x1: 'x1', x2: 'x2', y: 'name', fill: (p: Piece) => colour(`role-${p.role}`), insetTop: 24, insetBottom: 8, insetRight: 0.75, rx: 1.5, title: 'title' }),
          Plot.text(spent, { x: 0, y: 'name', text: 'name', textAnchor: 'start', fill: colour('ink'), fontWeight: 600, fontSize: 13, lineWidth: (width - 160) / 16, textOverflow: 'ellipsis', dy: -each / 2 + 13 }),
          Plot.text(spent, { x: most, y: 'name', text: (s: (typeof spent)[number]) => `${amount(s.total, 'FLOP')}${s === base ? '' : ` · ${change(s.total, base.total)}`}`, textAnchor: 'end', fontVariant: 'tabular-nums', dy: -each / 2 + 13 }),
        ],
      });
    },
    table: {
      head: ['', ...spent.flatMap((s, i) => (i === 0 ? [`${s.name}, FLOPs`, 'share'] : [`${s.name}, FLOPs`, 'change']))],
      rows: [
        ...present.map((r) => [roleLabels[r], ...spent.flatMap((s, i) => [exact(of(s, r)), i === 0 ? percent(of(s, r), s.total) : change(of(s, r), of(base, r))])]),
        ['all', ...spent.flatMap((s, i) => [exact(s.total), i === 0 ? '100 %' : change(s.total, base.total)])],
      ],
    },
  };
}
