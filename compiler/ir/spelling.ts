/** Edit distance with transpositions of neighbours (optimal string alignment), case ignored. */
function distance(a: string, b: string): number {
  let before: number[] = [], previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      row[j] = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j]!, before[j - 2]! + 1);
    }
    before = previous; previous = row;
  }
  return previous[b.length]!;
}

/** The known name most like a mistyped one, if any is like it: at most a third of its letters differ. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined, least = Infinity;
  for (const k of known) {
    const limit = Math.max(1, Math.floor(Math.max(name.length, k.length) / 3));
    if (Math.abs(name.length - k.length) > limit) continue;
    const d = distance(name.toLowerCase(), k.toLowerCase());
    if (d <= limit && d < least) { best = k; least = d; }
  }
  return best;
}

/** The tail of an error sentence about an unknown name: a guess and the choice, ` did you mean 'silu'? Known are …`. */
export function suggest(name: string, known: Iterable<string>, what: string): string {
  const all = [...known], near = nearest(name, all);
  const shown = all.length > 40 ? [...all.slice(0, 40), '…'] : all;
  return `${near === undefined ? '' : ` Did you mean '${near}'?`} ${what}: ${shown.join(', ') || 'none'}.`;
}
