/** Published numbers, and how each is asked of this compiler. */

/** How a number got into print; `derived` are given by a formula alone. */
export type Kind = 'printed' | 'printed*' | 'quoted' | 'counted' | 'config' | 'derived';

/** How far a value may lie from the published one: as much in its unit, in percent of it, or not at all. */
export type Tolerance = { readonly within: number } | { readonly percent: number } | 'exact';

/** A value that the compiler gives. */
export interface Answer {
  readonly value: number;
  /** A command that shows it, where there is one. */
  readonly command?: string;
}

export interface Row {
  readonly check: string;
  readonly published: number;
  readonly unit: string;
  readonly kind: Kind;
  readonly tolerance: Tolerance;
  /** The counting convention, where work is counted. */
  readonly convention?: string;
  /** How we get it; in its place the reason why we do not. */
  readonly ours: (() => Promise<Answer>) | { readonly why: string };
  /** What the reader has to know besides. */
  readonly note?: string;
}

export interface Section {
  readonly title: string;
  readonly source: string;
  readonly rows: readonly Row[];
}

/** True if the value reproduces the published one. */
export function isReproduced({ published, tolerance }: Row, value: number): boolean {
  if (tolerance === 'exact') return value === published;
  const off = Math.abs(value - published), most = 'within' in tolerance ? tolerance.within : (Math.abs(published) * tolerance.percent) / 100;
  // A tolerance is written in decimals: 0.05 of 3.8 must not fail by the last bit of a double.
  return off <= most * (1 + 1e-9);
}
