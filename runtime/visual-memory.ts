import type { ImageInput } from './context.ts';

/** Where an image's rows lie in the region of the media kind, and whether the `vision` step has filled them. */
export interface Slot { readonly slot: number; readonly rows: number; readonly known: boolean }

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

  constructor(private readonly rows: number, private readonly capacity: number, private readonly pinned: boolean) {}

  /** True if the given images fit beside those already held. */
  hasRoom(images: readonly ImageInput[]): boolean {
    if (this.pinned) return true;
    const fresh = new Set(images.map((i) => i.key).filter((k) => !this.slots.has(k))).size;
    return (this.slots.size + fresh) * this.rows <= this.capacity;
  }

  clear(): void {
    this.slots.clear();
    this.pinnedKeys.clear();
  }

  /** The place of an image; `first` is the first free slot of a pinned memory. The caller fills what is not `known`. */
  place(image: ImageInput, first: number): Slot {
    if (this.pinned) return { slot: first, rows: this.rows, known: this.pinnedKeys.get(first) === image.key };
    const slot = this.slots.get(image.key);
    return { slot: slot ?? this.slots.size * this.rows, rows: this.rows, known: slot !== undefined };
  }

  /** Notes that the image now lies at its place. */
  hold(image: ImageInput, slot: number): void {
    if (this.pinned) this.pinnedKeys.set(slot, image.key);
    else this.slots.set(image.key, slot);
  }

  /** Rows from the region's begin to the end of the last image held. */
  get end(): number { return this.slots.size * this.rows; }
}
