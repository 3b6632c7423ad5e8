/**
 * What a session has read so far, as data: which rows stand where in the prompt and in the cache. No device in here.
 *
 * A segment is a run of text or one image. Its rows have consecutive positions, and consecutive slots in the region of
 * their kind; kernels see segments as key spans, so an image may lie anywhere in memory and stand anywhere in the prompt.
 */
import { RuntimeError } from './errors.ts';
import type { Manifest } from './manifest.ts';
import type { RowSources } from './tiling/visual-rows.ts';

export type SequenceDecl = Manifest['sequences'][number];

export interface Segment {
  readonly kind: number;
  /** Number of the image in the prompt, -1 for text. */
  readonly image: number;
  /** Position of the first row in the prompt. */
  readonly position: number;
  /** First slot within the region of the kind. */
  readonly slot: number;
  length: number;
}

/** First slot of each kind's region. */
export function regionStarts(sequence: SequenceDecl): number[] {
  let start = 0;
  return sequence.kinds.map((k) => { const s = start; start += k.capacity; return s; });
}

/** `(slot, count, kind, image), (position, index, origin, 0)` of every segment: the keys that a step may read. */
export function spanData(sequence: SequenceDecl, segments: readonly Segment[]): Int32Array<ArrayBuffer> {
  const starts = regionStarts(sequence), out = new Int32Array(segments.length * 8);
  segments.forEach((s, i) => out.set([starts[s.kind]! + s.slot, s.length, s.kind, s.image, s.position, 0, s.position, 0], i * 8));
  return out;
}

/** A stretch of a segment: rows that a step computes. */
export interface NewRows { readonly segment: Segment; readonly from: number; readonly count: number }

/** `(position, kind, index, image)` of every new row, kind after kind. */
export function rowData(sequence: SequenceDecl, rows: readonly NewRows[]): Int32Array<ArrayBuffer> {
  const out = new Int32Array(rows.reduce((n, r) => n + r.count, 0) * 4);
  let at = 0;
  for (let kind = 0; kind < sequence.kinds.length; kind++)
    for (const { segment, from, count } of rows) {
      if (segment.kind !== kind) continue;
      for (let i = from; i < from + count; i++, at += 4) out.set([segment.position + i, kind, i, segment.image], at);
    }
  return out;
}

/**
 * The segments of a tower's own sequence: each kind once, positions counted through, as image 0. Kinds whose rows are counted by the
 * picture have `rows` of them, by default as many as there may be.
 */
export function towerSegments(sequence: SequenceDecl, rows?: number): Segment[] {
  let position = 0;
  return sequence.kinds.map((k, kind) => {
    const length = k.dim ? rows ?? k.capacity : k.capacity, s: Segment = { kind, image: 0, position, slot: 0, length };
    position += length;
    return s;
  });
}

/** A prompt as token ids and images in order; images are told apart by the hash of their pixels. */
export type PromptItem = number | ImageInput;
export interface ImageInput {
  readonly key: string;
  /** Pixels `[channels, height, width]`, or `[rows, width]` values for models without a tower. */
  readonly data: Float32Array;
  /** Rows that it takes in the prompt. */
  readonly rows: number;
  /** Pictures that the tower sees of it, one after the other in `data`; absent for one. */
  readonly tiles?: number;
  /** Of a picture in its own shape, whose `data` are patches: the place of each in the tower's table of positions. */
  readonly positions?: Int32Array;
  /** Which rows of its tiles its own are gathered from, where they are not just those of one picture. */
  readonly sources?: RowSources;
  /** What a run before has computed of it (`Model.loadMemory`), in place of `data`: its rows of each state. */
  readonly memory?: ReadonlyMap<string, Uint8Array>;
  /**
   * What stands for it in a prompt with so many images: text, and images in turn. Absent for an image that stands for itself.
   * Sessions take what it gives; `Model.items` asks for it.
   */
  inPrompt?(images: number): readonly (string | ImageInput)[];
}

export const isImage = (x: PromptItem): x is ImageInput => typeof x !== "number";
export const sameItem = (a: PromptItem, b: PromptItem): boolean => (typeof a === 'number' || typeof b === 'number' ? a === b : a.key === b.key);

/** @throws RuntimeError `limit` when a kind has no room for `rows` rows. */
export function checkCapacity(sequence: SequenceDecl, kind: number, rows: number): void {
  const k = sequence.kinds[kind]!;
  if (rows <= k.capacity) return;
  const option = k.media ? '--max-visual' : '--max-text';
  throw new RuntimeError('limit', `The conversation needs ${rows} ${k.name} tokens, but this bundle was compiled for at most ${k.capacity}. ${k.media ? 'Use fewer or smaller images' : 'Shorten the prompt, ask for fewer tokens or start a new conversation'}, or compile with ${option} ${rows} or more.`);
}

/** What stands for a token until it is read back from the device. */
export const unknownToken = -1;

/** The conversation that a cache holds: tokens and images, and the segments that they are. */
export class Context {
  readonly items: PromptItem[] = [];
  readonly segments: Segment[] = [];

  /** @param text number of the kind that words are */
  constructor(private readonly text: number) {}

  /** Position of the next row. */
  get position(): number {
    const last = this.segments.at(-1);
    return last ? last.position + last.length : 0;
  }

  /** Slots of a kind's region that the conversation uses, from the first on. */
  rowsHeld(kind: number): number {
    return this.segments.reduce((n, s) => (s.kind === kind ? Math.max(n, s.slot + s.length) : n), 0);
  }

  /** A row for one more token, noted among the new rows. */
  appendText(fresh: NewRows[]): void {
    const last = this.segments.at(-1), open = fresh.at(-1);
    if (last?.kind === this.text) {
      last.length++;
      if (open?.segment === last) fresh[fresh.length - 1] = { ...open, count: open.count + 1 };
      else fresh.push({ segment: last, from: last.length - 1, count: 1 });
    } else {
      const segment: Segment = { kind: this.text, image: -1, position: this.position, slot: this.rowsHeld(this.text), length: 1 };
      this.segments.push(segment);
      fresh.push({ segment, from: 0, count: 1 });
    }
  }

  /** Shortens the conversation to its first `count` items. */
  cut(count: number): void {
    for (let rest = this.items.length - count; rest > 0;) {
      const last = this.segments.at(-1)!;
      const drop = last.kind === this.text ? Math.min(rest, last.length) : 1;
      rest -= drop;
      if (last.kind === this.text && last.length > drop) last.length -= drop;
      else this.segments.pop();
    }
    this.items.length = Math.min(count, this.items.length);
  }
}
