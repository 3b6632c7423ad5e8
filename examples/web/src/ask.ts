/** One question to one program, with what it cost. */
import type { ChatMessage, Counters, ImageInput, Manifest, Model } from '../../../runtime/browser.ts';

export interface Run {
  readonly text: string;
  /** Tokens of the answer, the end token included. */
  readonly tokens: number;
  /** Milliseconds until the first token. */
  readonly first: number;
  /** Milliseconds for each token after the first; undefined where there was no other. */
  readonly perToken: number | undefined;
  /** What the device did until the first token. */
  readonly work: Counters;
}

export const messagesOf = (question: string): readonly ChatMessage[] => [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: question }] }];

/** Answers one question about one picture in a conversation of its own; gives the text as it grows, then what it took. */
export async function* ask(model: Model, question: string, image: ImageInput, signal?: AbortSignal): AsyncGenerator<string, Run> {
  let text = '';
  for await (const piece of model.generate({ messages: messagesOf(question), images: [image], ...(signal ? { signal } : {}) })) {
    text += piece.text;
    yield text;
  }
  const { first, decode, tokens } = model.timings;
  return { text, tokens, first, perToken: tokens > 1 ? decode / (tokens - 1) : undefined, work: model.work.prefill };
}

/** `ask` without the streaming. */
export async function answer(model: Model, question: string, image: ImageInput): Promise<Run> {
  const stream = ask(model, question, image);
  for (;;) {
    const { done, value } = await stream.next();
    if (done) return value;
  }
}

/** Rows of pictures that were computed, summed over dispatches: rows of the vision tower and visual rows of the decoder. */
export function visualRows(manifest: Manifest, work: Counters): number {
  const media = new Set(manifest.sequences.flatMap((s) => s.kinds.filter((k) => k.media).map((k) => k.name)));
  return Object.entries(work.rows).reduce((sum, [kind, rows]) => (media.has(kind) ? sum + rows : sum), 0);
}

/** Words of a question that the model's vocabulary lacks. */
export function unknownWords(model: Model, question: string): string[] {
  const { tokenizer } = model, unknown = tokenizer.idOf(tokenizer.token('unk_token') ?? '');
  if (unknown === undefined) return [];
  return [...new Set(question.split(/[^\p{L}\p{N}'-]+/u).filter((word) => word && tokenizer.encode(word, { addSpecialTokens: false }).includes(unknown)))];
}
