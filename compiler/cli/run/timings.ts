/** `run --timings`: where the time to the first token goes, and how quickly the others follow. Milliseconds. */
import type { AnswerTimings, LoadTimings } from '../../../runtime/model.ts';
import { milliseconds } from '../output.ts';

export interface RunTimings {
  /** From the command's begin to the first token of the first answer. */
  readonly firstToken: number;
  /** Opening the bundle and the adapter, and all of loading. */
  readonly load: number;
  /** Parts of loading: waiting for files, waiting for the device to take them, and compiling kernels, which runs beside both. */
  readonly read: number;
  readonly upload: number;
  readonly pipelines: number;
  /** Decoding and preprocessing of the pictures. */
  readonly pictures: number;
  /** Of the first answer until its first token: new pictures through the tower, then the prompt. */
  readonly vision: number;
  readonly prefill: number;
  /** Tokens after the first one, of all answers. */
  readonly decode: { readonly milliseconds: number; readonly tokens: number; readonly tokensPerSecond?: number };
  readonly answers: readonly AnswerTimings[];
}

export function runTimings(load: number, { read, upload, pipelines }: Omit<LoadTimings, 'total'>, pictures: number, answers: readonly AnswerTimings[]): RunTimings {
  const ms = answers.reduce((s, a) => s + a.decode, 0), tokens = answers.reduce((s, a) => s + Math.max(0, a.tokens - 1), 0), { first, vision, prefill } = answers[0]!;
  return { firstToken: load + pictures + first, load, read, upload, pipelines, pictures, vision, prefill, decode: { milliseconds: ms, tokens, ...(tokens ? { tokensPerSecond: (1000 * tokens) / ms } : {}) }, answers };
}

export function timingsText(adapter: string, t: RunTimings): string {
  const ms = milliseconds, { decode } = t;
  return [
    `${adapter}: ${ms(t.firstToken)} to the first token`,
    `  load ${ms(t.load)}: read ${ms(t.read)}, upload ${ms(t.upload)}, pipelines ${ms(t.pipelines)} (beside the other two)`,
    `  pictures ${ms(t.pictures)}, vision ${ms(t.vision)}, prefill ${ms(t.prefill)}`,
    `  decode ${decode.tokens} more tokens in ${ms(decode.milliseconds)}${decode.tokensPerSecond === undefined ? '' : `, ${decode.tokensPerSecond.toPrecision(3)} tokens/s`}`,
  ].join('\n');
}
