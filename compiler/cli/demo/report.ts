/** The demo's closing table. */
import pc from 'picocolors';
import type { Cost } from '../../cost/formula.ts';
import { milliseconds, si, table } from '../output.ts';
import type { AnswerTimes } from './ask.ts';
import type { Mask } from './programs.ts';
import { masks } from './programs.ts';

/** What is told of one program. Times are medians in milliseconds. */
export interface Side {
  readonly cost: Cost<bigint>;
  readonly bytes: number;
  readonly memory: number;
  readonly dispatches: { readonly prompt: number; readonly token: number };
  /** Of a question about a new picture, and of one about a picture that was seen amid other text. */
  readonly times: { readonly fresh: AnswerTimes; readonly again: AnswerTimes };
  /** Milliseconds of each token after the first. */
  readonly perToken: number;
}
export interface Result {
  readonly adapter: { readonly name: string; readonly kind: string; readonly why: string; readonly target: string };
  readonly visual: number;
  readonly text: number;
  readonly convention: 'exact';
  readonly rounds: number;
  readonly sides: Readonly<Record<Mask, Side>>;
  /** Questions that both programs answered, and how many of these answers are the same, token for token. */
  readonly asked: number;
  readonly agree: number;
  /** Answers that are what the picture shows. */
  readonly right: Readonly<Record<Mask, number>>;
}

export function closingTable(r: Result): string {
  const line = (name: string, of: (s: Side) => number | bigint, text: (n: number) => string): string[] => {
    const [a, b] = masks.map((m) => Number(of(r.sides[m]))) as [number, number];
    return [name, text(a), text(b), a === b ? '=' : a === 0 ? '' : `${b < a ? '−' : '+'}${(100 * Math.abs(b / a - 1)).toFixed(0)} %`];
  };
  const flops = (n: number): string => si(n), bytes = (n: number): string => si(n, 'B');
  const heading = (text: string): string[] => [pc.dim(text), '', '', ''];
  return table(['', 'self (baseline)', 'composite (EE-MLLM)', ''], [
    heading(`FLOPs (${r.convention}: 2 per multiply-add, only what is read)`),
    line('  vision tower', (s) => s.cost.parts.vision, flops),
    line('  projector', (s) => s.cost.parts.projector, flops),
    line("  decoder, visual rows", (s) => s.cost.decoder.visual, flops),
    line("  decoder, text rows", (s) => s.cost.decoder.text, flops),
    line('  attention scores', (s) => s.cost.decoder.scores, flops),
    line('  head', (s) => s.cost.parts.head, flops),
    line('  total', (s) => s.cost.total, flops),
    heading('bytes'),
    line('  moved by the kernels', (s) => s.bytes, bytes),
    line('  held on the device', (s) => s.memory, bytes),
    heading('dispatches'),
    line('  for the prompt', (s) => s.dispatches.prompt, String),
    line('  for each further token', (s) => s.dispatches.token, String),
    heading(`measured, median of ${r.rounds}`),
    line('  new picture, first token', (s) => s.times.fresh.prompt, milliseconds),
    line('  picture seen, first token', (s) => s.times.again.prompt, milliseconds),
    line('  each further token', (s) => s.perToken, milliseconds),
    heading('answers'),
    ['  as the picture was drawn', `${r.right.self} of ${r.asked}`, `${r.right.composite} of ${r.asked}`, ''],
    ['  the same under both', '', `${r.agree} of ${r.asked}`, ''],
  ]) + "\nA picture seen before, amid other text: composite has all its rows in the visual memory; self computes them again in the decoder.";
}
