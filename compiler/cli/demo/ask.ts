/** One question to a loaded model, with what the device did for it and how long each part took. */
import type { Counters, ImageInput, Manifest, Model } from '../../../runtime/node.ts';

/** Milliseconds until the first token, and of all that followed. */
export interface AnswerTimes { readonly prompt: number; readonly decode: number }

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
  const tokens: number[] = [];
  let text = '';
  for await (const piece of model.generate({ messages: [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: question }] }], images: [image] })) {
    if (piece.token >= 0) tokens.push(piece.token);
    text += piece.text;
    onText?.(piece.text);
  }
  const { vision, prefill, decode } = model.timings, { work } = model;
  return { text, tokens, textRows: work.text, times: { prompt: vision + prefill, decode }, first: work.prefill, rest: work.decode };
}

/** Rows of pictures that were computed, summed over dispatches: the tower's rows and the decoder's visual rows. */
export function visualRows(manifest: Manifest, { rows }: Counters): number {
  const media = new Set(manifest.sequences.flatMap((s) => s.kinds.filter((k) => k.media).map((k) => k.name)));
  return Object.entries(rows).reduce((sum, [kind, n]) => sum + (media.has(kind) ? n : 0), 0);
}

/** Part by part the middle of several runs. */
export function medianTimes(runs: readonly AnswerTimes[]): AnswerTimes {
  const middle = (of: (t: AnswerTimes) => number): number => { const xs = runs.map(of).sort((a, b) => a - b); return xs[xs.length >> 1]!; };
  return { prompt: middle((t) => t.prompt), decode: middle((t) => t.decode) };
}
