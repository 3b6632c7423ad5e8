/**
 * One conversation on a program: what the cache holds, and the steps that extend it.
 *
 * A new prompt keeps whatever prefix of it the cache already holds. Images that the `vision` step has seen stay in the
 * visual memory; where the mask lets their rows depend on the image alone, a later prompt reads them where they lie,
 * whatever text stands around them.
 */
import type { ImageInput, NewRows, PromptItem, Segment, SequenceDecl } from './context.ts';
import { checkCapacity, isImage, rowData, sameItem, spanData, towerSegments } from './context.ts';
import { RuntimeError } from './errors.ts';
import { checkImage } from './image-check.ts';
import { f16ToF32 } from './half.ts';
import type { EntryName, Manifest } from './manifest.ts';
import type { Dims } from './polynomial.ts';
import type { LoadedEntry, Program } from './program.ts';
import { newCounters } from './program.ts';
import { Readback } from './readback.ts';
import { VisualMemory } from './visual-memory.ts';

export class Session {
  /** What ran since the session began (or since `counters` was replaced). */
  counters = newCounters();
  private readonly sequence: SequenceDecl;
  private readonly text: number;
  private readonly media: number;
  /** True if prefill computes rows of images. */
  private readonly prefillsMedia: boolean;
  private readonly memory: VisualMemory;
  private readonly readback: Readback;
  private items: PromptItem[] = [];
  private segments: Segment[] = [];
  /** The step that ran last. */
  last: { readonly entry: EntryName; readonly dims: Dims } | undefined;
  private lost: string | undefined;
  /** Called after each step that an image takes (`tile`, `vision`), before the next one overwrites what it computed. */
  onVision: ((dims: Dims, entry: 'tile' | 'vision') => void) | undefined;

  constructor(readonly program: Program, readonly manifest: Manifest) {
    const { media } = manifest;
    this.sequence = manifest.sequences[0]!;
    this.text = this.sequence.kinds.findIndex((k) => !k.media);
    this.media = this.sequence.kinds.findIndex((k) => k.name === media?.kind);
    this.prefillsMedia = this.entry('prefill').dispatches.some((d) => d.rows.some(([kind]) => kind === media?.kind));
    this.memory = new VisualMemory(this.sequence.kinds[this.media]?.capacity ?? 0, this.prefillsMedia);
    this.readback = new Readback(program.device);
    void program.device.lost.then((info) => { this.lost = info.message || info.reason; });
    this.writeTowers();
  }

  /** Tokens and images that the cache holds. */
  get length(): number { return this.items.length; }

  /**
   * Reads a prompt: images through `vision` where the memory does not hold them yet, then all that is new through
   * `prefill`; the last new image and the text together through `first`, where the program has such a step. Afterwards `logits` and `next` belong to the prompt's last token.
   * @throws RuntimeError `limit` when the prompt is longer than the bundle allows, `value` when it does not end in text
   *   or holds what this model cannot read, `device-lost`.
   */
  prefill(prompt: readonly PromptItem[]): void {
    this.checkDevice();
    this.checkPrompt(prompt);
    // The last token is always read anew: its logits are the result.
    let kept = 0;
    while (kept < prompt.length - 1 && kept < this.items.length && sameItem(prompt[kept]!, this.items[kept]!)) kept++;
    // Where earlier rows read later images, what came before a new image has to be read again.
    if (this.manifest.media?.lookahead && (prompt.slice(kept).some(isImage) || this.items.slice(kept).some(isImage))) kept = 0;
    if (!this.memory.hasRoom(prompt.filter(isImage))) { this.memory.clear(); kept = 0; }
    this.cut(kept);

    const fresh: NewRows[] = [], ids: number[] = [], added = prompt.slice(kept), joint = this.jointImage(added);
    for (const item of added) {
      if (isImage(item)) this.appendImage(item, fresh, item === joint);
      else { this.appendText(fresh); ids.push(item); }
      this.items.push(item);
    }
    this.run(joint ? 'first' : 'prefill', fresh, ids);
  }

  /** Reads one more token; `logits` and `next` afterwards belong to it. */
  decode(token: number): void {
    this.checkDevice();
    checkCapacity(this.sequence, this.text, this.rowsHeld(this.text) + 1);
    const fresh: NewRows[] = [];
    this.appendText(fresh);
    this.items.push(token);
    this.run('decode', fresh, [token]);
  }

  /** Forgets the conversation; the visual memory stays. */
  reset(): void { this.cut(0); }

  /** The token with the largest logit, as the device computed it. */
  async next(): Promise<number> { return new Int32Array(await this.read('next'))[0]!; }

  /** Logits of the last token, one a vocabulary entry. */
  async logits(): Promise<Float32Array> {
    const bytes = await this.read('logits');
    return this.entry('prefill').outputs['logits']?.dtype === 'f16' ? f16ToF32(new Uint16Array(bytes)) : new Float32Array(bytes);
  }

  destroy(): void { this.readback.destroy(); }

  private get position(): number {
    const last = this.segments.at(-1);
    return last ? last.position + last.length : 0;
  }
  /** Slots of a kind's region that the conversation uses, from the first on. */
  private rowsHeld(kind: number): number {
    return this.segments.reduce((n, s) => (s.kind === kind ? Math.max(n, s.slot + s.length) : n), 0);
  }

  private appendText(fresh: NewRows[]): void {
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

  /** The last new image of a prompt, if it can go through the layers together with the text; images before it are seen alone. */
  private jointImage(items: readonly PromptItem[]): ImageInput | undefined {
    if (!this.program.entries.first) return undefined;
    const fresh = new Map(items.filter(isImage).filter((i) => !this.memory.place(i, 0).known).map((i) => [i.key, i]));
    return [...fresh.values()].at(-1);
  }

  /** @param joint true for an image whose rows the step that follows computes with the text's */
  private appendImage(image: ImageInput, fresh: NewRows[], joint: boolean): void {
    const { slot, known } = this.memory.place(image, this.rowsHeld(this.media));
    if (!known) {
      if (joint) this.showTower(image);
      else this.see(image, slot);
      this.memory.hold(image, slot);
    }
    const number = this.segments.filter((s) => s.image >= 0).length;
    const segment: Segment = { kind: this.media, image: number, position: this.position, slot, length: image.rows };
    this.segments.push(segment);
    if (this.prefillsMedia || (joint && !known)) fresh.push({ segment, from: 0, count: image.rows });
  }

  /** Shortens the context to its first `count` items. */
  private cut(count: number): void {
    for (let rest = this.items.length - count; rest > 0;) {
      const last = this.segments.at(-1)!;
      const drop = last.kind === this.text ? Math.min(rest, last.length) : 1;
      rest -= drop;
      if (last.kind === this.text && last.length > drop) last.length -= drop;
      else this.segments.pop();
    }
    this.items.length = count;
  }

  private checkPrompt(prompt: readonly PromptItem[]): void {
    if (typeof prompt.at(-1) !== 'number')
      throw new RuntimeError('value', prompt.length ? 'The prompt ends with an image; a question in words must follow it.' : 'The prompt is empty; at least one token is needed.');
    const images = prompt.filter(isImage), { media, vocabulary } = this.manifest;
    if (images.length && !media) throw new RuntimeError('value', `The prompt has ${images.length} image(s), but '${this.manifest.model.name}' reads text only.`);
    checkCapacity(this.sequence, this.text, prompt.length - images.length);
    if (media) {
      const places = this.prefillsMedia ? images : [...new Map(images.map((i) => [i.key, i])).values()];
      checkCapacity(this.sequence, this.media, places.reduce((n, i) => n + i.rows, 0));
      for (const i of images) checkImage(this.manifest, i);
    }
    for (const t of prompt)
      if (typeof t === 'number' && !(Number.isInteger(t) && t >= 0 && t < vocabulary)) throw new RuntimeError('value', `The prompt holds the token id ${t}; this model's ids are 0 to ${vocabulary - 1}.`);
  }

  /** One image through the `vision` step, into the given slots of the memory. */
  private see(image: ImageInput, slot: number): void {
    if (!this.program.entries.vision) return; // this model's answers do not depend on images
    this.showTower(image);
    const segment: Segment = { kind: this.media, image: 0, position: 0, slot, length: image.rows };
    this.writeSequence([segment], [{ segment, from: 0, count: image.rows }]);
    const dims = this.dims([segment], (kind) => (kind === this.media ? { fresh: image.rows, held: slot + image.rows } : { fresh: 0, held: 0 }));
    this.submit('vision', dims);
    this.onVision?.(dims, 'vision');
  }

  /** Writes what the next step sees of an image; of several tiles, runs the tower. */
  private showTower(image: ImageInput): void {
    this.seeTiles(image);
    this.give('row_map', image.sources?.sources);
    this.give('row_weights', image.sources?.weights);
  }

  /** What the tower sees: the one picture of an image, or tile after tile, whose rows then lie beside each other. */
  private seeTiles({ data, tiles = 1 }: ImageInput): void {
    const { source } = this.manifest.media!.input;
    if (!this.program.entries.tile) { this.give(source, data); return; }
    for (let tile = 0, size = data.length / tiles; tile < tiles; tile++) {
      this.give(source, data.subarray(tile * size, (tile + 1) * size));
      const dims = { ...this.dims([], () => ({ fresh: 0, held: 0 })), tiles: tile + 1 };
      this.submit('tile', dims);
      this.onVision?.(dims, 'tile');
    }
  }
  /** Writes an input, if there is one of this source that the program reads. */
  private give(source: string, data: Float32Array | Int32Array | undefined): void {
    const buffer = data && this.program.input(source);
    if (buffer) this.program.device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
  }

  private run(name: 'first' | 'prefill' | 'decode', fresh: readonly NewRows[], ids: readonly number[]): void {
    this.give('ids', Int32Array.from(ids));
    this.writeSequence(this.segments, fresh);
    const dims = this.dims(this.segments, (kind) => ({
      fresh: fresh.reduce((n, r) => n + (r.segment.kind === kind ? r.count : 0), 0),
      held: kind === this.media && !this.prefillsMedia ? this.memory.end : this.rowsHeld(kind),
    }));
    this.submit(name, dims);
    this.last = { entry: name, dims };
  }

  private dims(spans: readonly Segment[], rows: (kind: number) => { fresh: number; held: number }): Dims {
    const out: Record<string, number> = {};
    for (const s of this.manifest.sequences.slice(1)) out[`spans_${s.name}`] = s.kinds.length;
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
  /** A tower's rows are the same for every image. */
  private writeTowers(): void {
    for (const s of this.manifest.sequences.slice(1)) {
      const segments = towerSegments(s);
      this.write('spans', s.name, spanData(s, segments));
      this.write('rows', s.name, rowData(s, segments.map((segment) => ({ segment, from: 0, count: segment.length }))));
    }
  }
  private write(source: 'rows' | 'spans', sequence: string, data: Int32Array<ArrayBuffer>): void {
    const buffer = this.program.input(source, sequence);
    if (!buffer) return;
    if (data.byteLength > buffer.size)
      throw new RuntimeError('limit', `The conversation alternates too often between text and images: ${data.length / 8} runs, this bundle has room for ${buffer.size / 32}. Start a new conversation, or compile with larger limits.`);
    this.program.device.queue.writeBuffer(buffer, 0, data);
  }

  private submit(name: EntryName, dims: Dims): void {
    this.program.writeDims(dims);
    const encoder = this.program.device.createCommandEncoder({ label: name });
    this.program.encode(encoder, this.entry(name), dims, this.counters);
    this.program.device.queue.submit([encoder.finish()]);
  }

  private read(output: string): Promise<ArrayBuffer> {
    this.checkDevice();
    if (!this.last) throw new RuntimeError('value', 'Nothing has been read yet: call prefill first.');
    return this.readOutput(this.last.entry, output, this.last.dims);
  }

  /** All rows of an output of the step that ran last, as raw bytes. */
  readOutput(entry: EntryName, output: string, dims: Dims): Promise<ArrayBuffer> {
    const o = this.entry(entry).outputs[output];
    if (!o) throw new RuntimeError('bundle', `This bundle has no output '${output}' of '${entry}'. Compile it anew.`);
    const bytes = o.width * (o.dtype === 'f16' ? 2 : 4);
    return this.readback.read(o.buffer, o.offset + o.row(dims) * bytes, o.rows(dims) * bytes);
  }

  private checkDevice(): void {
    if (this.lost !== undefined) throw new RuntimeError('device-lost', `The GPU device was lost (${this.lost}). Load the model again.`);
  }
  private entry(name: EntryName): LoadedEntry {
    const e = this.program.entries[name];
    if (!e) throw new RuntimeError('bundle', `This bundle has no entry point '${name}'. Compile it anew.`);
    return e;
  }
}
