/** One chat completion on the model: pictures decoded, tokens counted, stop strings heeded. */
import type { AnswerTimings, Model } from '../../../runtime/model.ts';
import { isImage } from '../../../runtime/context.ts';
import { decodeImage } from '../../../runtime/node-image.ts';
import type { ChatRequest } from './chat-request.ts';
import { StopStrings } from './stop.ts';

/** What a server needs of a model. */
export type ServedModel = Pick<Model, 'generate' | 'items' | 'image' | 'bundle' | 'timings'>;

export interface Usage { readonly prompt_tokens: number; completion_tokens: number }
export interface Answer {
  readonly usage: Usage;
  /** Why the answer ended, once `text` has: at a stop token or string, or at the most tokens. */
  finish: 'stop' | 'length';
  /** Milliseconds on the device by part, once `text` has ended. */
  timings?: AnswerTimings;
  /** The answer's text, in pieces as it is generated. */
  readonly text: AsyncGenerator<string>;
}

/** Prepares an answer; nothing runs on the device before its text is asked for. Throws RuntimeErrors for requests that cannot be answered. */
export async function answer(model: ServedModel, request: ChatRequest, signal: AbortSignal): Promise<Answer> {
  const images = [];
  for (const [i, bytes] of request.pictures.entries()) images.push(await model.image(await decodeImage(bytes, `Picture ${i + 1} of the request`)));
  const prompt = { messages: request.messages, images };
  const prompt_tokens = model.items(prompt).reduce<number>((n, x) => n + (isImage(x) ? x.rows : 1), 0);
  const { maxTokens, temperature, topP, topK, seed } = request;
  const options = { ...prompt, signal, ...(maxTokens === undefined ? {} : { maxTokens }), ...(temperature === undefined ? {} : { temperature }), ...(topP === undefined ? {} : { topP }), ...(topK === undefined ? {} : { topK }), ...(seed === undefined ? {} : { seed }) };
  const usage: Usage = { prompt_tokens, completion_tokens: 0 };
  const stops = new StopStrings(request.stop), stopTokens = model.bundle.manifest.stopTokens;
  const made: Answer = { usage, finish: 'length', text: text() };
  return made;

  async function* text(): AsyncGenerator<string> {
    for await (const piece of model.generate(options)) {
      if (piece.token >= 0) usage.completion_tokens++;
      const shown = stops.push(piece.text);
      if (shown) yield shown;
      if (stops.stopped || stopTokens.includes(piece.token)) { made.finish = 'stop'; break; }
    }
    made.timings = { ...model.timings };
    const rest = stops.flush();
    if (rest) yield rest;
  }
}
