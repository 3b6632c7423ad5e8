/**
 * One conversation on a program: what the cache holds, and the steps that extend it.
 *
 * A new prompt keeps whatever prefix of it the cache already holds. Images that the `vision` step has seen stay in the
 * visual memory; where the mask lets their rows depend on the image alone, a later prompt reads them where they lie,
 * whatever text stands around them.
 */
import type { ImageInput, NewRows, PromptItem, Segment, SequenceDecl } from './context.ts';
import { checkCapacity, Context, isImage, rowData, sameItem, spanData, towerSegments, unknownToken } from './context.ts';
import { RuntimeError } from './errors.ts';
import { checkImages, checkPrompt } from './prompt-check.ts';
import { f16ToF32 } from './half.ts';
import type { EntryName, Manifest } from './manifest.ts';
import type { Counters, Work } from './counters.ts';
import { writeRows } from './memory-rows.ts';
import type { Dims } from './polynomial.ts';
import type { Program } from './program.ts';
import type { Draw } from './sampling.ts';
import { chosenToken } from './sampling.ts';
import { Steps } from './steps.ts';
import type { Slot } from './visual-memory.ts';
import { VisualMemory } from './visual-memory.ts';

export interface SessionOptions {
  /**
   * Milliseconds after which a long step (a picture, a prompt) lets others in: it is submitted in slices of about so long, two of
   * them at a time. 30 by default; 0: all at once. Results are the same.
   */
  readonly slice?: number;
}
export interface PrefillOptions {
  /** Draws the token after the prompt on the device; by default it is the likeliest. */
  readonly draw?: Draw | undefined;
  /** Takes effect between slices. */
  readonly signal?: AbortSignal | undefined;
}

export class Session {
  /** The device's side. */
  readonly steps: Steps;
  private readonly sequence: SequenceDecl;
  private readonly text: number;
  private readonly media: number;
  /** True if prefill computes rows of images. */
  private readonly prefillsMedia: boolean;
  private readonly memory: VisualMemory;
  private readonly context: Context;
  /** Patches of the picture that a tower saw last, where it counts its rows by the picture. */
  private patches = 0;
  /** A prompt is being read. */
  private busy = false;
  /** When (`performance.now()`) the device had seen the new images of the last prompt; absent where there were none. */
  visionEnd: Promise<number> | undefined;
  /** Called after each step that an image takes (`tile`, `vision`), before the next one overwrites what it computed. */
  onVision: ((dims: Dims, entry: 'tile' | 'vision') => void) | undefined;

  constructor(readonly program: Program, readonly manifest: Manifest, { slice }: SessionOptions = {}) {
    const { media } = manifest;
    this.steps = new Steps(program, slice);
    this.sequence = manifest.sequences[0]!;
    this.text = this.sequence.kinds.findIndex((k) => !k.media);
    this.media = this.sequence.kinds.findIndex((k) => k.name === media?.kind);
    this.prefillsMedia = this.steps.entry('prefill').dispatches.some((d) => d.rows.some(([kind]) => kind === media?.kind));
    this.memory = new VisualMemory(this.sequence.kinds[this.media]?.capacity ?? 0, this.prefillsMedia);
    this.context = new Context(this.text);
    this.writeTowers();
  }

  /** Tokens and images that the cache holds. */
  get length(): number { return this.context.items.length; }

  /**
   * Reads a prompt: images through `vision` where the memory does not hold them yet, then all that is new through
   * `prefill`; the last new image and the text together through `first`, where the program has such a step. Afterwards
   * `logits` and `next` belong to the prompt's last token. Where it fails, the context is what it shares with the one before.
   * @throws RuntimeError `limit` when the prompt is longer than the bundle allows, `value` when it does not end in text
   *   or holds what this model cannot read, `device-lost`; the reason of the signal when that is aborted.
   */
  async prefill(prompt: readonly PromptItem[], { draw, signal }: PrefillOptions = {}): Promise<void> {
    this.checkReady();
    checkPrompt(this.manifest, prompt, this.prefillsMedia);
    // The last token is always read anew: its logits are the result.
    let kept = 0;
    while (kept < prompt.length - 1 && kept < this.context.items.length && sameItem(prompt[kept]!, this.context.items[kept]!)) kept++;
    // Where earlier rows read later images, what came before a new image has to be read again.
    if (this.manifest.media?.lookahead && (prompt.slice(kept).some(isImage) || this.context.items.slice(kept).some(isImage))) kept = 0;
    if (!this.memory.hasRoom(prompt.filter(isImage))) { this.memory.clear(); kept = 0; }
    this.context.cut(kept);

    const fresh: NewRows[] = [], ids: number[] = [], added = prompt.slice(kept), joint = this.jointImage(added);
    this.visionEnd = undefined;
    this.busy = true;
    try {
      await this.steps.tokensUnderWay();
      for (const item of added) {
        if (isImage(item)) await this.appendImage(item, fresh, item === joint, signal);
        else { this.context.appendText(fresh); ids.push(item); }
        this.context.items.push(item);
      }
      this.steps.give('ids', Int32Array.from(ids));
      await this.steps.run(joint ? 'first' : 'prefill', this.extend(fresh), { draw, signal });
    } catch (e) {
      this.context.cut(kept);
      if (joint) this.memory.forget(joint);
      throw e;
    } finally {
      this.busy = false;
    }
  }

  /**
   * Reads one more token; `logits` and `next` afterwards belong to it. Without a token it reads the one that the step before
   * chose, on the device: call `learn` with it once it is known.
   * @throws RuntimeError `limit` when the bundle has no room for another token, `device-lost`
   */
  decode(token?: number, draw?: Draw): Work {
    this.checkReady();
    checkCapacity(this.sequence, this.text, this.context.rowsHeld(this.text) + 1);
    const fresh: NewRows[] = [], { steps, dispatches, flops } = this.counters;
    this.context.appendText(fresh);
    this.context.items.push(token ?? unknownToken);
    if (token !== undefined) this.steps.give('ids', Int32Array.of(token));
    this.steps.submit('decode', this.extend(fresh), { draw, feed: token === undefined });
    return { steps: this.counters.steps - steps, dispatches: this.counters.dispatches - dispatches, flops: this.counters.flops - flops };
  }

  /** The first token that a `decode` took from the device, now that it is known. */
  learn(token: number): void {
    const { items } = this.context, at = items.indexOf(unknownToken);
    if (at >= 0) items[at] = token;
  }

  /** Takes back the last steps of `decode`, which ran ahead of an answer's end: their tokens are no part of the conversation. */
  discard(steps: readonly Work[]): void {
    const { discarded } = this.counters;
    for (const w of steps) { discarded.steps += w.steps; discarded.dispatches += w.dispatches; discarded.flops += w.flops; }
    this.context.cut(this.context.items.length - steps.length);
  }

  /**
   * Images in the visual memory, seen now if they were not: the first slot of each.
   * @throws RuntimeError `value` where images leave nothing that outlives a prompt, `limit`, `device-lost`
   */
  async remember(images: readonly ImageInput[]): Promise<number[]> {
    this.checkReady();
    checkImages(this.manifest, images, !this.prefillsMedia && this.program.entries.vision !== undefined);
    if (!this.memory.hasRoom(images)) { this.memory.clear(); this.context.cut(0); }
    this.busy = true;
    try {
      const slots: number[] = [];
      for (const i of images) slots.push((await this.bring(i, 0, false, undefined)).slot);
      return slots;
    } finally {
      this.busy = false;
    }
  }

  /** Forgets the conversation; the visual memory stays. */
  reset(): void { this.context.cut(0); }

  /**
   * The token that the last step chose, as the device computed it. May be asked for before the next step and awaited after it.
   * @throws RuntimeError `sampling` where the logits allow no choice, `device-lost`
   */
  async next(): Promise<number> {
    this.steps.checkDevice();
    return chosenToken(await this.steps.token(), this.manifest.vocabulary);
  }

  /** Logits of the last token, one a vocabulary entry. */
  async logits(): Promise<Float32Array> {
    const { last } = this.steps;
    if (!last) throw new RuntimeError('value', 'Nothing has been read yet: call prefill first.');
    const bytes = await this.readOutput(last.entry, 'logits', last.dims);
    return this.steps.entry(last.entry).outputs['logits']?.dtype === 'f16' ? f16ToF32(new Uint16Array(bytes)) : new Float32Array(bytes);
  }

  /** All rows of an output of the step that ran last, as raw bytes. */
  readOutput(entry: EntryName, output: string, dims: Dims): Promise<ArrayBuffer> { return this.steps.read(entry, output, dims); }

  /** What ran since the session began (or since this was set). */
  get counters(): Counters { return this.steps.counters; }
  set counters(counters: Counters) { this.steps.counters = counters; }
  /** The step that ran last. */
  get last(): Steps['last'] { return this.steps.last; }

  destroy(): void { this.steps.destroy(); }

  /** The last new image of a prompt, if it can go through the layers together with the text; images before it are seen alone. */
  private jointImage(items: readonly PromptItem[]): ImageInput | undefined {
    if (!this.program.entries.first) return undefined;
    const fresh = new Map(items.filter(isImage).filter((i) => !i.memory && !this.memory.place(i, 0).known).map((i) => [i.key, i]));
    return [...fresh.values()].at(-1);
  }

  /** @param joint true for an image whose rows the step that follows computes with the text's */
  private async appendImage(image: ImageInput, fresh: NewRows[], joint: boolean, signal: AbortSignal | undefined): Promise<void> {
    const { slot, known } = await this.bring(image, this.context.rowsHeld(this.media), joint, signal);
    const number = this.context.segments.filter((s) => s.image >= 0).length;
    const segment: Segment = { kind: this.media, image: number, position: this.context.position, slot, length: image.rows };
    this.context.segments.push(segment);
    if (this.prefillsMedia || (joint && !known)) fresh.push({ segment, from: 0, count: image.rows });
  }

  /** Brings an image into the memory, if it is not there: computed, or as it was saved. */
  private async bring(image: ImageInput, first: number, joint: boolean, signal: AbortSignal | undefined): Promise<Slot> {
    const at = this.memory.place(image, first);
    if (at.known) return at;
    this.memory.overwrite(at.slot, image.rows);
    if (image.memory) writeRows(this.program, this.manifest, image.memory, at.slot, image.rows);
    else if (joint) await this.showTower(image, signal);
    else await this.see(image, at.slot, signal);
    this.memory.hold(image, at.slot);
    return at;
  }

  /** One image through the `vision` step, into the given slots of the memory. */
  private async see(image: ImageInput, slot: number, signal: AbortSignal | undefined): Promise<void> {
    if (!this.program.entries.vision) return; // this model's answers do not depend on images
    await this.showTower(image, signal);
    const segment: Segment = { kind: this.media, image: 0, position: 0, slot, length: image.rows };
    this.writeSequence([segment], [{ segment, from: 0, count: image.rows }]);
    const dims = this.dims([segment], (kind) => (kind === this.media ? { fresh: image.rows, held: slot + image.rows } : { fresh: 0, held: 0 }));
    await this.steps.run('vision', dims, { signal });
    this.visionEnd = this.steps.done();
    this.onVision?.(dims, 'vision');
  }

  /** Writes what the next step sees of an image; of several tiles, runs the tower. */
  private async showTower(image: ImageInput, signal: AbortSignal | undefined): Promise<void> {
    await this.seeTiles(image, signal);
    this.steps.give('row_map', image.sources?.sources);
    this.steps.give('row_weights', image.sources?.weights);
    this.steps.give('positions', image.positions);
    if (image.positions) this.writeTowers(this.patches = image.positions.length);
  }

  /** What the tower sees: the one picture of an image, or tile after tile, whose rows then lie beside each other. */
  private async seeTiles({ data, tiles = 1 }: ImageInput, signal: AbortSignal | undefined): Promise<void> {
    const { source } = this.manifest.media!.input;
    if (!this.program.entries.tile) { this.steps.give(source, data); return; }
    for (let tile = 0, size = data.length / tiles; tile < tiles; tile++) {
      this.steps.give(source, data.subarray(tile * size, (tile + 1) * size));
      const dims = { ...this.dims([], () => ({ fresh: 0, held: 0 })), tiles: tile + 1 };
      await this.steps.run('tile', dims, { signal });
      this.visionEnd = this.steps.done();
      this.onVision?.(dims, 'tile');
    }
  }

  /** Writes where the new rows of a step stand, and what it may read; gives its dims. */
  private extend(fresh: readonly NewRows[]): Dims {
    this.writeSequence(this.context.segments, fresh);
    return this.dims(this.context.segments, (kind) => ({
      fresh: fresh.reduce((n, r) => n + (r.segment.kind === kind ? r.count : 0), 0),
      held: kind === this.media && !this.prefillsMedia ? this.memory.end : this.context.rowsHeld(kind),
    }));
  }

  private dims(spans: readonly Segment[], rows: (kind: number) => { fresh: number; held: number }): Dims {
    const out: Record<string, number> = {};
    for (const s of this.manifest.sequences.slice(1)) {
      out[`spans_${s.name}`] = s.kinds.length;
      for (const { dim } of s.kinds) if (dim) out[dim] = out[`C${dim}`] = this.patches;
    }
    out[`spans_${this.sequence.name}`] = spans.length;
    this.sequence.kinds.forEach((k, i) => {
      if (!k.dim) return;
      const { fresh, held } = rows(i);
      out[k.dim] = fresh;
      out[`C${k.dim}`] = held;
    });
    return out;
  }

  private writeSequence(spans: readonly Segment[], fresh: readonly NewRows[]): void {
    this.write('spans', this.sequence.name, spanData(this.sequence, spans));
    this.write('rows', this.sequence.name, rowData(this.sequence, fresh));
  }
  /** A tower's rows are the same for every image, unless they are counted by the picture. */
  private writeTowers(patches?: number): void {
    for (const s of this.manifest.sequences.slice(1)) {
      const segments = towerSegments(s, patches);
      this.write('spans', s.name, spanData(s, segments));
      this.write('rows', s.name, rowData(s, segments.map((segment) => ({ segment, from: 0, count: segment.length }))));
    }
  }
  private write(source: 'rows' | 'spans', sequence: string, data: Int32Array<ArrayBuffer>): void {
    const buffer = this.program.input(source, sequence);
    if (buffer && data.byteLength > buffer.size)
      throw new RuntimeError('limit', `The conversation alternates too often between text and images: ${data.length / 8} runs, this bundle has room for ${buffer.size / 32}. Start a new conversation, or compile with larger limits.`);
    this.steps.give(source, data, sequence);
  }

  private checkReady(): void {
    this.steps.checkDevice();
    if (this.busy) throw new RuntimeError('value', 'The session is still reading a prompt. Wait for that before the next step.');
  }
}
