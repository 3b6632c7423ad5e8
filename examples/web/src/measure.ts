/** Both programs side by side: the same question about a picture that neither has seen, by turns, medians. */
import type { ImageInput, Model } from '../../../runtime/browser.ts';
import type { Run } from './ask.ts';
import { answer } from './ask.ts';

const rounds = 5;

export interface Comparison { readonly rounds: number; readonly runs: { readonly self: Run; readonly composite: Run } }

/** One unmeasured round first; then turns, so that whatever else the machine does falls on both. */
export async function measure(models: { readonly self: Model; readonly composite: Model }, question: string, image: ImageInput, onProgress: (done: number, of: number) => void): Promise<Comparison> {
  const taken: { self: Run[]; composite: Run[] } = { self: [], composite: [] };
  for (let round = 0; round <= rounds; round++) {
    for (const name of ['self', 'composite'] as const) {
      // A key of its own makes the memory see a new picture.
      const run = await answer(models[name], question, { ...image, key: crypto.randomUUID() });
      if (round > 0) taken[name].push(run);
    }
    onProgress(round, rounds);
  }
  return { rounds, runs: { self: median(taken.self), composite: median(taken.composite) } };
}

/** The counts are those of any run; the times are medians, each for itself. */
function median(runs: readonly Run[]): Run {
  const middle = (xs: readonly number[]): number => [...xs].sort((a, b) => a - b)[Math.floor(xs.length / 2)]!;
  const words = runs.map((r) => r.perToken).filter((x) => x !== undefined);
  return { ...runs[0]!, first: middle(runs.map((r) => r.first)), perToken: words.length ? middle(words) : undefined };
}
