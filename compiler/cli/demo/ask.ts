/** One question to a loaded model, with what the device did for it and how long each part took. */
import type { Counters, ImageInput, Manifest, Model } from '../../../runtime/node.ts';
import { newCounters } from '../../../runtime/node.ts';

/** Milliseconds. `vision` is 0 where the picture had been seen; `decode` is what all tokens after the first took. */
export interface AnswerTimes { readonly vision: number; readonly prefill: number; readonly decode: number }

export interface Answer {
  readonly text: string;
  readonly tokens: readonly number[];
  /** New text rows that the prompt had. */
  readonly textRows: number;
  readonly times: AnswerTimes;
  /** What ran until the first token, and afterwards. */
  readonly first: Counters;
  readonly rest: Counters;
}

export interface AskOptions {
  /** Called with each piece of text. */
  readonly onText?: (text: string) => void;
}

/** Asks one question in a conversation of its own; the visual memory stays. */
export async function ask(model: Model, question: string, image: ImageInput, { onText }: AskOptions = {}): Promise<Answer> {
  const { session } = model, { queue } = session.program.device, tokens: number[] = [];
  let text = '', textRows = 0, first: Counters | undefined, vision: Promise<number> | undefined;
  const start = performance.now();
  session.counters = newCounters();
  // The queue is in order: what was submitted by now is the vision step, and what follows is prefill.
  session.onVision = () => { vision = queue.onSubmittedWorkDone().then(() => performance.now() - start); };
  try {
    for await (const piece of model.generate({ messages: [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: question }] }], images: [image] })) {
      if (!first) {
        first = session.counters;
        session.counters = newCounters();
        textRows = session.last?.dims[textDim(model.bundle.manifest)] ?? 0;
      }
      if (piece.token >= 0) tokens.push(piece.token);
      text += piece.text;
      onText?.(piece.text);
    }
  } finally {
    session.onVision = undefined;
  }
  const seen = await (vision ?? 0), { prefill, decode } = model.timings;
  return { text, tokens, textRows, times: { vision: seen, prefill: prefill - seen, decode }, first: first ?? newCounters(), rest: session.counters };
}

const textDim = (m: Manifest): string => m.sequences[0]!.kinds.find((k) => !k.media)!.dim!;

/** Rows of pictures that were computed, summed over dispatches: the tower's rows and the decoder's visual rows. */
export function visualRows(manifest: Manifest, { rows }: Counters): number {
  const media = new Set(manifest.sequences.flatMap((s) => s.kinds.filter((k) => k.media).map((k) => k.name)));
  return Object.entries(rows).reduce((sum, [kind, n]) => sum + (media.has(kind) ? n : 0), 0);
}

/** Part by part the middle of several runs. */
export function medianTimes(runs: readonly AnswerTimes[]): AnswerTimes {
  const middle = (of: (t: AnswerTimes) => number): number => { const xs = runs.map(of).sort((a, b) => a - b); return xs[xs.length >> 1]!; };
  return { vision: middle((t) => t.vision), prefill: middle((t) => t.prefill), decode: middle((t) => t.decode) };
}
