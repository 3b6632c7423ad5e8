/** What the lighter mask saves: FLOPs by part, what was measured on this device, and the same at everyday size. */
import type { Manifest } from '../../../runtime/browser.ts';
import type { Run } from './ask.ts';
import { visualRows } from './ask.ts';
import type { Cost } from './data.ts';
import { html } from './dom.ts';
import { change, count, ms, si } from './format.ts';

type Variant = Cost['variants'][number];
const variant = (cost: Cost, name: string): Variant => {
  const found = cost.variants.find((v) => v.name === name);
  if (!found) throw new Error(`data.json has no cost of '${name}' for ${cost.model}.`);
  return found;
};

const head = (...cells: (Node | string)[]): HTMLElement => html('thead', {}, html('tr', {}, ...cells.map((c) => html('th', { scope: 'col' }, c))));
const changeCell = (before: number, after: number): HTMLElement => html('td', after < before ? { class: 'less' } : {}, change(before, after));
const keyed = (name: 'self' | 'composite'): HTMLElement => html('span', {}, html('span', { class: `key ${name}`, 'aria-hidden': 'true' }), name);

const parts: readonly (readonly [label: string, of: (v: Variant) => number])[] = [
  ['vision tower', (v) => v.parts.vision], ['projector', (v) => v.parts.projector],
  ['decoder, visual rows', (v) => v.decoder.visual], ['decoder, text rows', (v) => v.decoder.text], ['attention scores', (v) => v.decoder.scores],
  ['head', (v) => v.parts.head],
];

const less = (cost: Cost): string => `${(100 * (1 - variant(cost, 'composite').parts.decoder / variant(cost, 'self').parts.decoder)).toFixed(0)} % less work`;

/** The figures that matter in a sentence. */
export function leadSentence(cost: Cost, large: readonly Cost[]): HTMLElement {
  const largest = large.at(-1);
  return html('p', { class: 'big' },
    'Under the composite mask visual tokens do not read each other. The compiler proves what nobody reads then, and leaves it out: ',
    html('strong', {}, less(cost)), " in this model's decoder before the first word", ...(largest ? [', ', html('strong', {}, less(largest)), ` with ${count(largest.visual)} visual tokens in ${largest.model}`] : []), '.');
}

/** FLOPs by part, with bars on one scale. */
export function partsTable(cost: Cost): HTMLElement {
  const before = variant(cost, 'self'), after = variant(cost, 'composite');
  const largest = Math.max(...parts.flatMap(([, of]) => [of(before), of(after)]));
  const bar = (which: string, flops: number): HTMLElement => html('span', { class: `bar ${which}`, style: `width:${(100 * flops) / largest}%` });
  return html('table', { class: 'parts' },
    html('caption', {}, `FLOPs of a prompt with ${cost.visual} visual and ${cost.text} text tokens`),
    head('Part', keyed('self'), keyed('composite'), 'change'),
    html('tbody', {},
      ...parts.map(([label, of]) => {
        const a = of(before), b = of(after);
        return html('tr', {}, html('th', { scope: 'row' }, label, html('span', { class: 'bars', 'aria-hidden': 'true' }, bar('self', a), bar('composite', b))), html('td', {}, si(a)), html('td', {}, si(b)), changeCell(a, b));
      }),
      html('tr', { class: 'total' }, html('th', { scope: 'row' }, 'all'), html('td', {}, si(before.total)), html('td', {}, si(after.total)), changeCell(before.total, after.total)),
    ));
}

export function largeTable(costs: readonly Cost[]): HTMLElement {
  return html('table', {},
    html('caption', {}, `FLOPs of the same masks in the decoder of ${costs[0]?.model ?? ''}, as the compiler counts them`),
    head('Visual + text tokens', 'self', 'composite', 'change'),
    html('tbody', {}, ...costs.map((cost) => {
      const a = variant(cost, 'self').parts.decoder, b = variant(cost, 'composite').parts.decoder;
      return html('tr', {}, html('th', { scope: 'row' }, `${count(cost.visual)} + ${count(cost.text)}`), html('td', {}, si(a)), html('td', {}, si(b)), changeCell(a, b));
    })));
}

export interface Measured {
  readonly caption: string;
  /** Times of one run each say too little to be compared. */
  readonly once: boolean;
  readonly manifest: Manifest;
  readonly self?: Run;
  readonly composite?: Run;
}

/** What the device did until the first word of an answer, one program beside the other. */
export function measuredTable({ caption, once, manifest, self, composite }: Measured): HTMLElement {
  const row = (name: string, of: (run: Run) => number | undefined, text: (x: number) => string, comparable = true): HTMLElement => {
    const a = self && of(self), b = composite && of(composite);
    const cell = (x: number | undefined): HTMLElement => html('td', {}, x === undefined ? '–' : text(x));
    return html('tr', {}, html('th', { scope: 'row' }, name), cell(a), cell(b), comparable && a !== undefined && b !== undefined ? changeCell(a, b) : html('td'));
  };
  return html('table', {},
    html('caption', {}, caption),
    head('Until the first word', 'self', 'composite', 'change'),
    html('tbody', {},
      row('time', (r) => r.first, ms, !once),
      row('FLOPs', (r) => r.work.flops, si),
      row('dispatches', (r) => r.work.dispatches, count),
      row('visual rows computed', (r) => visualRows(manifest, r.work), count),
      row('each further word', (r) => r.perToken, ms, !once),
    ));
}
