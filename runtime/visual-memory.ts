import type { ImageInput } from './context.ts';

/** Where an image's rows lie in the region of the media kind, and whether the `vision` step has filled them. */
export interface Slot { readonly slot: number; readonly known: boolean }

/**
 * Which images the visual memory holds, and where.
 *
 * Usually an image may lie anywhere and be read from any place of any prompt. Where `prefill` computes rows of images
 * too (`pinned`), their keys belong to one place of one prompt, so slots follow the order of the images in the prompt
 * and only what `vision` left there (the projected image) is reused.
 */
export class VisualMemory {
  private readonly slots = new Map<string, number>();
  private readonly pinnedKeys = new Map<number, string>();
  /** Rows from the region's begin to the end of the last image held. */
  end = 0;

  constructor(private readonly capacity: number, private readonly pinned: boolean) {}

  /** True if the given images fit beside those already held. */
  hasRoom(images: readonly ImageInput[]): boolean {
    if (this.pinned) return true;
    const fresh = new Map(images.filter((i) => !this.slots.has(i.key)).map((i) => [i.key, i.rows]));
    return this.end + [...fresh.values()].reduce((a, b) => a + b, 0) <= this.capacity;
  }

  /** Takes back `hold`: what should have filled the rows did not. */
  forget(image: ImageInput): void {
    this.slots.delete(image.key);
    for (const [at, key] of this.pinnedKeys) if (key === image.key) this.pinnedKeys.delete(at);
  }

  clear(): void {
    this.slots.clear();
    this.pinnedKeys.clear();
    this.end = 0;
  }

  /** The place of an image; `first` is the first free slot of a pinned memory. The caller fills what is not `known`. */
  place(image: ImageInput, first: number): Slot {
    if (this.pinned) return { slot: first, known: this.pinnedKeys.get(first) === image.key };
    const slot = this.slots.get(image.key);
    return { slot: slot ?? this.end, known: slot !== undefined };
  }

  /** Says that rows are about to be written: what lay there is gone. */
  overwrite(slot: number, rows: number): void {
    for (const at of this.pinnedKeys.keys()) if (at >= slot && at < slot + rows) this.pinnedKeys.delete(at);
  }

  /** Notes that the image now lies at its place. */
  hold(image: ImageInput, slot: number): void {
    if (this.pinned) this.pinnedKeys.set(slot, image.key);
    else this.slots.set(image.key, slot);
    this.end = Math.max(this.end, slot + image.rows);
  }
}
