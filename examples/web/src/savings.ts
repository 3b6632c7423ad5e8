/** What the lighter mask saves: FLOPs by part, what was measured on this device, and the same at everyday size. */
import type { Manifest } from '../../../runtime/browser.ts';
import type { Run } from './ask.ts';
import { visualRows } from './ask.ts';
import type { Cost } from './data.ts';
import { html } from './dom.ts';
import { change, count, ms, si } from './format.ts';

const variant = (cost: Cost, name: string): Cost['variants'][number] => {
  const found = cost.variants.find((v) => v.name === name);
  if (!found) throw new Error(`data.json has no cost of '${name}' for ${cost.model}.`);
  return found;
};

const head = (...cells: (Node | string)[]): HTMLElement => html('thead', {}, html('tr', {}, ...cells.map((c) => html('th', { scope: 'col' }, c))));
const changeCell = (before: number, after: number): HTMLElement => html('td', after < before ? { class: 'less' } : {}, change(before, after));
const keyed = (name: 'self' | 'composite'): HTMLElement => html('span', {}, html('span', { class: `key ${name}`, 'aria-hidden': 'true' }), name);

/** One sentence with the figure that matters. */
export function leadSentence(cost: Cost): HTMLElement {
  const before = variant(cost, 'self').total, after = variant(cost, 'composite').total;
  return html('p', { class: 'big' }, html('strong', {}, `${(100 * (1 - after / before)).toFixed(0)} % less work`), ` before the first word of an answer. Under the composite mask visual tokens do not read each other; the compiler proves what nobody reads then, and leaves it out.`);
}

/** FLOPs by part, with bars on one scale. */
export function partsTable(cost: Cost): HTMLElement {
  const before = variant(cost, 'self'), after = variant(cost, 'composite');
  const names = Object.keys(before.parts), largest = Math.max(...names.flatMap((n) => [before.parts[n]!, after.parts[n] ?? 0]));
  const bar = (which: string, flops: number): HTMLElement => html('span', { class: `bar ${which}`, style: `width:${(100 * flops) / largest}%` });
  return html('table', { class: 'parts' },
    html('caption', {}, `FLOPs of a prompt with ${cost.visual} visual and ${cost.text} text tokens`),
    head('Part', keyed('self'), keyed('composite'), 'change'),
    html('tbody', {},
      ...names.map((name) => {
        const a = before.parts[name]!, b = after.parts[name] ?? 0;
        return html('tr', {}, html('th', { scope: 'row' }, name, html('span', { class: 'bars', 'aria-hidden': 'true' }, bar('self', a), bar('composite', b))), html('td', {}, si(a)), html('td', {}, si(b)), changeCell(a, b));
      }),
      html('tr', { class: 'total' }, html('th', { scope: 'row' }, 'all'), html('td', {}, si(before.total)), html('td', {}, si(after.total)), changeCell(before.total, after.total)),
    ));
}

export function largeTable(costs: readonly Cost[]): HTMLElement {
  return html('table', {},
    html('caption', {}, `FLOPs of the same masks on ${costs[0]?.model ?? ''}, as the compiler counts them`),
    head('Visual + text tokens', 'self', 'composite', 'change'),
    html('tbody', {}, ...costs.map((cost) => {
      const a = variant(cost, 'self').total, b = variant(cost, 'composite').total;
      return html('tr', {}, html('th', { scope: 'row' }, `${count(cost.visual)} + ${count(cost.text)}`), html('td', {}, si(a)), html('td', {}, si(b)), changeCell(a, b));
    })));
}

export interface Measured {
  readonly caption: string;
  readonly manifest: Manifest;
  readonly self?: Run;
  readonly composite?: Run;
}

/** What the device did until the first word of an answer, one program beside the other. */
export function measuredTable({ caption, manifest, self, composite }: Measured): HTMLElement {
  const row = (name: string, of: (run: Run) => number | undefined, text: (x: number) => string): HTMLElement => {
    const a = self && of(self), b = composite && of(composite);
    const cell = (x: number | undefined): HTMLElement => html('td', {}, x === undefined ? '–' : text(x));
    return html('tr', {}, html('th', { scope: 'row' }, name), cell(a), cell(b), a !== undefined && b !== undefined ? changeCell(a, b) : html('td'));
  };
  return html('table', {},
    html('caption', {}, caption),
    head('Until the first word', 'self', 'composite', 'change'),
    html('tbody', {},
      row('time', (r) => r.first, ms),
      row('FLOPs', (r) => r.work.flops, si),
      row('dispatches', (r) => r.work.dispatches, count),
      row('visual rows computed', (r) => visualRows(manifest, r.work), count),
      row('each further word', (r) => r.perToken, ms),
    ));
}
