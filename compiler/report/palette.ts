/**
 * Colours by name, light and dark. A drawing says `var(--name)`; the page declares the variables for both modes, and a
 * drawing by itself gets the light ones put in. Marks keep a contrast of at least 3:1 to the paper, text of 4.5:1
 * (WCAG 2.2, 1.4.3 and 1.4.11; a test computes them).
 */
type Shades = readonly [light: string, dark: string];

/** What the page and the axes are made of. */
export const surfaces = {
  paper: ['#f6f5f2', '#141413'], card: ['#ffffff', '#1c1c1a'], ink: ['#1f1e1b', '#eceae5'], soft: ['#66635c', '#a5a199'],
  line: ['#e4e1da', '#32312d'], fill: ['#f1efea', '#272623'], accent: ['#0d7a6c', '#4cc0ac'],
} as const satisfies Readonly<Record<string, Shades>>;

/** Variants in the order of the comparison; the baseline is grey. Longer comparisons start again with another dash. */
export const series: readonly Shades[] = [
  ['#77736a', '#99958c'], ['#0d7a6c', '#4cc0ac'], ['#b85c00', '#f0a04b'], ['#2f5fb3', '#7aa7f0'], ['#a63a79', '#e58abf'], ['#6b7212', '#b9c05a'], ['#6a4fb5', '#ae97ee'], ['#a3361f', '#f08a74'],
];

/** What a FLOP was spent on, in the order in which bars are stacked. */
export const roleColours = {
  vision: ['#8a8479', '#8f8a80'], projector: ['#6a665d', '#b5b0a5'],
  query: ['#1b4f9c', '#8db8f5'], key: ['#3f78c9', '#5f93e2'], value: ['#5c8fd9', '#3f78cc'], output: ['#4a6a99', '#86a0c4'],
  scores: ['#c06a00', '#f0a04b'], forward: ['#3c8d7f', '#3c9c8b'], other: ['#8d6a9f', '#b493c6'], head: ['#a3361f', '#f08a74'],
} as const satisfies Readonly<Record<string, Shades>>;

/** What happens to a pair of query and key. `masked`: computed and thrown away. */
export const cellColours = {
  computed: ['#0d7a6c', '#4cc0ac'], masked: ['#a9cfc8', '#235249'], copied: ['#c06a00', '#f0a04b'], skipped: ['#eeece6', '#272623'],
} as const satisfies Readonly<Record<string, Shades>>;

const all: Readonly<Record<string, Shades>> = {
  ...surfaces, ...Object.fromEntries(series.map((s, i) => [`series-${i}`, s])),
  ...Object.fromEntries(Object.entries(roleColours).map(([n, s]) => [`role-${n}`, s])), ...Object.fromEntries(Object.entries(cellColours).map(([n, s]) => [`cell-${n}`, s])),
};

export const colour = (name: string): string => `var(--${name})`;
export const seriesColour = (i: number): string => colour(`series-${i % series.length}`);
/** Lines of one colour differ in their dashes. */
export const seriesDash = (i: number): string => ['', '6 3', '2 3'][Math.floor(i / series.length) % 3]!;

const declarations = (mode: 0 | 1): string => Object.entries(all).map(([name, shades]) => `--${name}:${shades[mode]};`).join('');
/** The variables for the page: dark where the reader's system asks for it, light on printed paper. */
export const paletteCss = (): string => `:root{${declarations(0)}}@media screen and (prefers-color-scheme:dark){:root{${declarations(1)}}}`;

/** A drawing with the light colours put in, for programs that know no variables. */
export const withColours = (svg: string): string => svg.replace(/var\(--([\w-]+)\)/g, (whole, name: string) => all[name]?.[0] ?? whole).replace(/currentColor/gi, surfaces.ink[0]);
