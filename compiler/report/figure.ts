/** What a figure is: a drawing for any width, what it shows in words, and its data as a table. */
import type { Drawing } from './draw.ts';
import { withColours } from './palette.ts';
import { escapeHtml } from './format.ts';

export interface Table {
  readonly head: readonly string[];
  /** The first cell of a row names it. */
  readonly rows: readonly (readonly string[])[];
}

/** A colour and what it stands for. */
export interface LegendEntry { readonly colour: string; readonly label: string; readonly dash?: string }

export interface Figure {
  /** Anchor on the page, and name of its files. */
  readonly id: string;
  /** Heading of its section. */
  readonly title: string;
  /** What is to be seen, in a few sentences with the numbers that matter. */
  readonly lead: readonly string[];
  /** How to read it: axes, units, conventions. */
  readonly caption: string;
  /** The drawing in words, for those who do not see it. */
  readonly alt: string;
  readonly legend?: readonly LegendEntry[];
  draw(width: number): Drawing;
  readonly table: Table;
}

/** Widths in CSS pixels at which a figure is drawn: for a desk and for a phone. */
export const widths = { wide: 860, narrow: 340 } as const;

/** A figure as a file of its own: light colours, white paper, and its legend under it. */
export function standalone(f: Figure): string {
  const { group, width, height } = f.draw(widths.wide), margin = 20;
  const { rows, height: legendHeight } = legendRows(f.legend ?? [], width);
  const all = [width + 2 * margin, height + legendHeight + 2 * margin] as const;
  const whole = `<svg xmlns="http://www.w3.org/2000/svg" width="${all[0]}" height="${all[1]}" viewBox="0 0 ${all[0]} ${all[1]}" role="img">`
    + `<title>${escapeHtml(f.title)}</title><desc>${escapeHtml(f.alt)}</desc><rect width="100%" height="100%" fill="#ffffff"/>`
    + `<g transform="translate(${margin} ${margin})">${group}<g transform="translate(0 ${height})">${rows}</g></g></svg>\n`;
  return withColours(whole);
}

/** The legend as SVG, in rows as wide as the figure. Widths of letters are estimated: no font is at hand. */
function legendRows(entries: readonly LegendEntry[], width: number): { rows: string; height: number } {
  let x = 0, y = 24, rows = '';
  for (const { colour, label, dash } of entries) {
    const wide = 26 + label.length * 6.6;
    if (x > 0 && x + wide > width) { x = 0; y += 20; }
    rows += dash === undefined ? `<rect x="${x}" y="${y - 9}" width="10" height="10" rx="2" fill="${colour}"/>` : `<path d="M${x} ${y - 4}h14" stroke="${colour}" stroke-width="2.5" stroke-dasharray="${dash}"/>`;
    rows += `<text x="${x + 18}" y="${y}" font-family="sans-serif" font-size="12" fill="var(--soft)">${escapeHtml(label)}</text>`;
    x += wide + 14;
  }
  return { rows, height: entries.length ? y + 6 : 0 };
}
