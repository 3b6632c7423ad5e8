/** The attention maps of both programs as drawings, with a slider that walks through the asking tokens. */
import type { AttentionMap, PromptToken } from './attention-map.ts';
import { attentionMap, cellKinds, cellPath, countCells, runs } from './attention-map.ts';
import type { MaskFacts } from './data.ts';
import { byId, html, svg } from './dom.ts';
import { count, plural } from './format.ts';

/** Room for the axes, in cells. */
const margin = 5;
/** Longest prompt that is drawn: a map has the square of it in cells. */
const longest = 512;

interface View { readonly map: AttentionMap; readonly marker: SVGRectElement; readonly reads: HTMLElement }

export class MapView {
  private readonly maps = byId('maps', HTMLDivElement);
  private readonly row = byId('row', HTMLInputElement);
  private readonly name = byId('row-name', HTMLOutputElement);
  private views: View[] = [];
  private tokens: readonly PromptToken[] = [];

  constructor(private readonly masks: Readonly<Record<string, readonly MaskFacts[]>>) {
    this.row.addEventListener('input', () => this.mark(Number(this.row.value)));
  }

  /** Draws the maps of a prompt. */
  draw(tokens: readonly PromptToken[]): void {
    this.views = [];
    this.row.disabled = tokens.length > longest;
    if (this.row.disabled) {
      this.maps.replaceChildren(html('p', { class: 'hint' }, `This prompt has ${count(tokens.length)} tokens; maps are drawn up to ${longest}.`));
      return;
    }
    this.tokens = tokens;
    this.maps.replaceChildren(...Object.entries(this.masks).flatMap(([program, facts]) => facts.map((f) => this.figure(program, f))));
    this.row.max = String(tokens.length - 1);
    this.row.value = String(tokens.length - 1);
    this.mark(tokens.length - 1);
  }

  private figure(program: string, facts: MaskFacts): HTMLElement {
    const map = attentionMap(facts, this.tokens), n = this.tokens.length;
    const marker = svg('rect', { class: 'marker', x: 0, width: n, height: 1 }), reads = html('p', { class: 'reads' });
    const drawing = svg('svg', { viewBox: `${-margin} ${-margin} ${n + margin} ${n + margin}`, role: 'img', 'aria-label': `Attention map of ${program}: ${summary(map)}` },
      svg('rect', { class: 'base', width: n, height: n }),
      ...(['computed', 'copied'] as const).map((sort) => svg('path', { class: sort, d: cellPath(map, sort) })),
      ...this.axes(n), marker);
    drawing.addEventListener('pointermove', (e) => this.point(drawing, e));
    drawing.addEventListener('pointerdown', (e) => this.point(drawing, e));
    this.views.push({ map, marker, reads });
    return html('figure', {},
      html('figcaption', {}, html('strong', {}, program), html('code', {}, facts.text)),
      drawing, reads, html('div', { class: 'scroll' }, pairTable(map, facts)));
  }

  /** Brackets that say which tokens are of which kind, and lines between them. */
  private axes(n: number): SVGElement[] {
    return runs(this.tokens).flatMap(({ kind, from, length }) => {
      const middle = from + length / 2, label = length >= 8 ? kind : '';
      return [
        svg('rect', { class: 'run', x: from + 0.2, y: -1.3, width: length - 0.4, height: 0.6, rx: 0.3 }),
        svg('rect', { class: 'run', y: from + 0.2, x: -1.3, height: length - 0.4, width: 0.6, rx: 0.3 }),
        svg('text', { class: 'axis', x: middle, y: -2.2, 'text-anchor': 'middle' }, label),
        svg('text', { class: 'axis', x: 0, y: 0, 'text-anchor': 'middle', transform: `translate(-2.2 ${middle}) rotate(-90)` }, label),
        ...(from > 0 ? [svg('path', { class: 'edge', d: `M${from} 0V${n}M0 ${from}H${n}` })] : []),
      ];
    });
  }

  private point(drawing: SVGSVGElement, event: PointerEvent): void {
    const { top, height } = drawing.getBoundingClientRect(), n = this.tokens.length;
    const row = Math.floor(((event.clientY - top) / height) * (n + margin) - margin);
    if (row < 0 || row >= n) return;
    this.row.value = String(row);
    this.mark(row);
  }

  private mark(row: number): void {
    const token = this.tokens[row];
    if (!token) return;
    const name = `${row + 1} of ${this.tokens.length}: ${token.text}`;
    this.name.textContent = name;
    this.row.setAttribute('aria-valuetext', name);
    for (const { map, marker, reads } of this.views) {
      marker.setAttribute('y', String(row));
      reads.textContent = readsOf(map, row);
    }
  }
}

/** What one token reads, in words. */
function readsOf({ tokens, at }: AttentionMap, q: number): string {
  const read = new Map<string, number>();
  let copied = false;
  tokens.forEach((k, i) => {
    const cell = at(q, i);
    if (cell === 'copied') copied = true;
    if (cell === 'computed') read.set(k.kind, (read.get(k.kind) ?? 0) + 1);
  });
  if (copied) return 'Copies its own V; no Q, no scores.';
  return read.size ? `Reads ${[...read].map(([kind, n]) => plural(n, `${kind} token`)).join(' and ')}.` : 'Reads nothing.';
}

function summary(map: AttentionMap): string {
  const all = countCells(map);
  return cellKinds.filter((c) => all[c] > 0).map((c) => `${count(all[c])} ${c}`).join(', ');
}

/** The map in words and numbers: every pair of kinds, what is proven of it, and its cells. */
function pairTable(map: AttentionMap, { pairs }: MaskFacts): HTMLElement {
  const present = new Set(map.tokens.map((t) => t.kind));
  const rows = Object.entries(pairs).flatMap(([q, row]) => Object.entries(row).map(([k, c]) => ({ q, k, proven: c, cells: countCells(map, q, k) }))).filter(({ q, k }) => present.has(q) && present.has(k));
  return html('table', {},
    html('thead', {}, html('tr', {}, ...['asks → is read', 'proven', 'computed', 'copied', 'skipped'].map((t) => html('th', { scope: 'col' }, t)))),
    html('tbody', {}, ...rows.map(({ q, k, proven, cells }) => html('tr', {}, html('th', { scope: 'row' }, `${q} → ${k}`), html('td', {}, proven), ...(['computed', 'copied', 'skipped'] as const).map((c) => html('td', {}, count(cells[c])))))));
}
