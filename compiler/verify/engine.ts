/** What runs a compiled model for verification: the interpreter or a device, told the same and asked the same. */
import type { ImageInput, PromptItem } from '../../runtime/context.ts';
import { isImage } from '../../runtime/context.ts';
import type { Segment } from '../ir/layout.ts';

/** A prompt of one case: token ids and images in reading order. */
export type Prompt = readonly PromptItem[];

/** Values by name of output, row after row, kind after kind; those of the `vision` step image after image. */
export type Outputs = ReadonlyMap<string, Float32Array | Int32Array>;

/** Rows of a state: of each kind that it holds, in the order of the prompt, with channels in the model's order. */
export type StateRows = ReadonlyMap<string, Float32Array>;

export interface Engine {
  /** Forgets everything and reads a prompt: all outputs of `vision` and `prefill`. */
  prefill(prompt: Prompt): Promise<Outputs>;
  /** Reads one more token. */
  decode(token: number): Promise<Outputs>;
  /** The rows that a state holds now. `rotated`: they are rotated heads of this width, which a device may hold pair by pair. */
  state(name: string, rotated?: number): Promise<StateRows>;
}

export const imagesOf = (prompt: Prompt): ImageInput[] => prompt.filter(isImage);
export const idsOf = (prompt: Prompt): number[] => prompt.filter((i): i is number => !isImage(i));

/** The prompt as runs of text and images, numbered in their order. */
export function segmentsOf(prompt: Prompt, text: string, media: string): Segment[] {
  const out: { kind: string; length: number; image?: number }[] = [];
  let image = 0;
  for (const item of prompt) {
    if (isImage(item)) out.push({ kind: media, length: item.rows, image: image++ });
    else if (out.at(-1)?.kind === text) out.at(-1)!.length++;
    else out.push({ kind: text, length: 1 });
  }
  return out;
}

/** Puts the values of one output of several images behind each other. */
export function join(parts: readonly (Float32Array | Int32Array)[]): Float32Array | Int32Array {
  if (parts.length === 1) return parts[0]!;
  const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  parts.reduce((at, p) => { out.set(p, at); return at + p.length; }, 0);
  return out;
}
