/** The attention of every variant before and after pruning, one map for each group of layers that is treated alike. */
import { printMaskExpr } from '../ir/mask/print.ts';
import { maskOf } from '../ir/ops/attention.ts';
import type { LayerGroup } from './attention.ts';
import { attentionsBefore, groupLayers, pairCounts } from './attention.ts';
import type { CellKind, Grid } from './attention-grid.ts';
import { cellKinds, gridLeft, gridWritten, samplesOf } from './attention-grid.ts';
import type { Drawing, Panel } from './draw.ts';
import { drawing, panels, text } from './draw.ts';
import type { Figure } from './figure.ts';
import { exact, listed, percent, ranges } from './format.ts';
import { colour } from './palette.ts';
import type { Study, VariantStudy } from './study.ts';

const cellLabels: Readonly<Record<CellKind, string>> = {
  computed: 'computed', masked: 'computed, then thrown away by the mask', copied: 'copied: the row reads itself alone, so the result is its own value', skipped: 'skipped',
};

interface Counted extends LayerGroup { readonly pairs: ReturnType<typeof pairCounts> }

/** Undefined for a model without attention over text, as a tower by itself. */
export function attentionMap({ variants, sizes, sizesText }: Study): Figure | undefined {
  const all = variants.map((v) => ({ v, groups: groupLayers(attentionsBefore(v)).map((g): Counted => ({ ...g, pairs: pairCounts(v, g.like, sizes) })) })).filter((x) => x.groups.length);
  if (!all.length) return undefined;
  const said = all.map(({ v, groups }) => {
    const sum = (of: (p: Counted['pairs'][number]) => bigint): bigint => groups.reduce((s, g) => s + g.pairs.reduce((a, p) => a + of(p), 0n) * BigInt(Math.max(1, g.layers.length)), 0n);
    const written = sum((p) => p.written), computed = sum((p) => p.computed), copied = sum((p) => p.copied);
    return { name: v.name, written, computed, copied, skipped: written - computed - copied };
  });
  return {
    id: 'attention', title: 'Who attends to whom, before and after pruning',
    lead: said.map((s) => `${s.name}: of ${exact(s.written)} pairs in all layers ${percent(s.computed, s.written)} are computed${s.copied ? `, ${exact(s.copied)} copied` : ''} and ${percent(s.skipped, s.written)} skipped.`),
    caption: `Each row of a map asks, each column is read; ${sizesText}, pictures first. Kinds are not drawn to scale. Layers with the same treatment share a map. What is written is what the mask's author wrote; what is left follows from what is proven of the mask, and from which rows are read.`,
    alt: all.map(({ v, groups }) => `${v.name}: ${groups.map((g) => `${layersText(g)}: ${g.pairs.map((p) => `${p.query} to ${p.key} ${p.proven}, ${percent(p.computed, p.written)} computed${p.copied ? `, ${exact(p.copied)} copied` : ''}`).join('; ')}`).join('. ')}`).join('. ') + '.',
    legend: cellKinds.map((k) => ({ label: cellLabels[k], colour: colour(`cell-${k}`) })),
    draw: (width) => {
      const columns = width < 640 ? 3 : all.length > 2 ? 6 : 4, cell = (width - 20 * (columns - 1)) / columns;
      return panels(all.flatMap(({ v, groups }) => panelsOf(v, groups, columns, cell)), width, columns, 20);
      function panelsOf(v: VariantStudy, groups: readonly Counted[], columns: number, cell: number): Panel[] {
        const samples = samplesOf(groups[0]!.like.written.type.rows!.sequence, v.optimised, sizes);
        const masks = new Map([...groups].reverse().map((g) => [String(g.like.written.attrs['mask']), g]));
        const own: Panel[] = [
          ...[...masks].reverse().map(([name, g], i) => ({ title: i === 0 ? v.name : ' ', note: `as written${masks.size > 1 ? `: ${name}` : ''}`, of: map(gridWritten(v, g.like, samples), cell) })),
          ...groups.map((g) => ({ title: ' ', note: `left: ${layersText(g)}`, of: map(gridLeft(v, g.like, samples), cell) })),
        ];
        // Each variant begins a row of its own.
        while (own.length % columns) own.push({ of: drawing(cell, 1) });
        return own;
      }
    },
    table: {
      head: ['variant', 'layers', 'mask', 'asks → is read', 'proven', 'pairs', 'admitted by the mask', 'computed', 'copied', 'skipped'],
      rows: all.flatMap(({ v, groups }) => groups.flatMap((g) => g.pairs.map((p) => [
        v.name, layersText(g), printMaskExpr(maskOf(g.like.written.attrs, v.analysed).expr), `${p.query} → ${p.key}`, p.proven, exact(p.written), exact(p.admitted), exact(p.computed), exact(p.copied), exact(p.written - p.computed - p.copied),
      ]))),
    },
  };
}

const layersText = ({ layers, like }: LayerGroup): string => (layers.length ? `layer${layers.length > 1 ? 's' : ''} ${ranges(layers)}` : like.path || listed([String(like.written.attrs['mask'])]));

/** One map: a square with a bracket for each kind at its top and at its left. */
function map({ cells, runs }: Grid, width: number): Drawing {
  const margin = 16, size = width - margin, unit = size / cells.length, at = (i: number): number => Math.round((margin + i * unit) * 100) / 100;
  const out = [`<rect x="${margin}" y="${margin}" width="${size}" height="${size}" fill="${colour('cell-skipped')}"/>`];
  for (const kind of ['masked', 'computed', 'copied'] as const) {
    const path = cellPath(cells, kind);
    if (path) out.push(`<path transform="translate(${margin} ${margin}) scale(${unit})" fill="${colour(`cell-${kind}`)}" d="${path}"/>`);
  }
  for (const { kind, from, length } of runs) {
    const [a, b] = [at(from) + 1, at(from + length) - 1], room = b - a > kind.length * 5.5;
    if (from > 0) out.push(`<path d="M${at(from)} ${margin}V${width}M${margin} ${at(from)}H${width}" stroke="${colour('card')}" stroke-width="1.5"/>`);
    out.push(`<path d="M${a} ${margin - 3}H${b}M${margin - 3} ${a}V${b}" stroke="${colour('soft')}" stroke-width="1.5"/>`);
    if (room) out.push(text((a + b) / 2, 9, kind, { size: 10, anchor: 'middle' }), `<g transform="translate(9 ${(a + b) / 2}) rotate(-90)">${text(0, 0, kind, { size: 10, anchor: 'middle' })}</g>`);
  }
  return drawing(width, width, ...out);
}

/** One path over all cells of a sort, a rectangle for each run in a row. */
function cellPath(cells: Grid['cells'], sort: CellKind): string {
  let path = '';
  cells.forEach((row, y) => {
    for (let x = 0; x < row.length;) {
      if (row[x] !== sort) { x++; continue; }
      const from = x;
      while (x < row.length && row[x] === sort) x++;
      path += `M${from} ${y}h${x - from}v1h${from - x}z`;
    }
  });
  return path;
}
