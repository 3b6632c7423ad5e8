import { UserError } from './errors.ts';
import type { Token } from './ops/def.ts';
import type { RowSet, Sequence } from './rows.ts';
import { maskKind, printRows } from './rows.ts';
import { suggest } from './spelling.ts';

/**
 * A run of tokens of one kind. A media run belongs to an image. Images are told apart by a number of the caller's own, the
 * same in every layout in which the image stands; in a tower's sequence an image is one picture, and the tiles that one image is
 * cut into have numbers of their own, apart from those of images; the mask language's `image` is another number, the image's place among
 * the images of the sequence.
 */
export interface Segment { readonly kind: string; readonly length: number; readonly image?: number }

/** For each sequence its segments in reading order: of the prompt, or image by image. */
export type Layout = Readonly<Record<string, readonly Segment[]>>;

/** A token in its place. */
export interface PlacedToken extends Token {
  /** By what a state knows the token's row: media by image and place in it, wherever the image stands; text by position. */
  readonly key: string;
}

/** True for a sequence that a prompt fills, having a kind that is no media. Others hold images, each for itself. */
export const hasText = (s: Sequence): boolean => s.kinds.some((k) => !k.media);

/** The caller's numbers of the images, in the order in which they come. */
export const imagesOf = (segments: readonly Segment[]): number[] => [...new Set(segments.flatMap((s) => (s.image !== undefined && s.length ? [s.image] : [])))];

/**
 * Gives every token its place. Neighbouring runs of one kind (and image) are one segment, as the mask language means it, and
 * so are those of its parts; empty ones are not there. With `restart`, positions begin at 0 in every image. Throws a UserError for a layout that the
 * sequence cannot have, and for one that breaks the laws by which masks are proven (mask/prove.ts): the tokens of one kind
 * and image are one run, and the images of every kind come in one order.
 */
export function placeTokens(sequence: Sequence, segments: readonly Segment[], restart: boolean): PlacedToken[] {
  const tokens: PlacedToken[] = [], images = imagesOf(segments);
  const next = new Map<number | undefined, number>(), latest = new Map<string, number>();
  let before: Segment | undefined, index = 0;
  for (const s of segments) {
    checkSegment(sequence, s);
    if (!s.length) continue;
    const kind = maskKind(sequence, s.kind);
    const image = s.image === undefined ? -1 : images.indexOf(s.image), line = restart ? s.image : undefined;
    if (!before || maskKind(sequence, before.kind) !== kind || before.image !== s.image) {
      if (image >= 0 && image <= (latest.get(kind) ?? -1))
        throw new UserError(`In the layout of sequence '${sequence.name}' the tokens of kind '${s.kind}' of image ${s.image} come too late. The tokens of one kind and image must stand together, and the images of each kind in the order in which they first come: ${images.join(', ')}.`);
      latest.set(kind, image);
      index = 0;
    }
    before = s;
    for (let i = 0; i < s.length; i++, index++) {
      const pos = next.get(line) ?? 0;
      next.set(line, pos + 1);
      tokens.push({ kind: s.kind, pos, index, image, key: s.image === undefined ? `${s.kind} ${pos}` : `${s.kind} ${s.image} ${index}` });
    }
  }
  return tokens;
}

function checkSegment(s: Sequence, { kind, length, image }: Segment): void {
  const k = s.kinds.find((x) => x.name === kind), where = `A segment of kind '${kind}' in the layout of sequence '${s.name}'`;
  if (!k) throw new UserError(`${where} is of a kind that the sequence has not.${suggest(kind, s.kinds.map((x) => x.name), 'Its kinds are')}`);
  if (!Number.isSafeInteger(length) || length < 0) throw new UserError(`${where} has length ${length}; a length is an integer of at least 0.`);
  if (k.media && !(Number.isSafeInteger(image) && image! >= 0)) throw new UserError(`${where} must say to which image it belongs, by an integer of at least 0, not ${image}.`);
  if (!k.media && image !== undefined) throw new UserError(`${where} belongs to image ${image}, but '${kind}' is not declared as media.`);
}

/** The tokens of one sequence in one step of a run: the first `past` belong to earlier steps, the others are new. */
export class StepTokens {
  private readonly found = new Map<string, readonly PlacedToken[]>();
  constructor(private readonly tokens: readonly PlacedToken[], private readonly past: number) {}

  /** In memory order: kind after kind, each in reading order. The same rows always give the same list. */
  of(rows: RowSet): readonly PlacedToken[] {
    const name = printRows(rows);
    let out = this.found.get(name);
    if (!out) {
      const from = rows.context ? this.tokens : this.tokens.slice(this.past);
      out = rows.kinds.flatMap((kind) => {
        const all = from.filter((t) => t.kind === kind);
        return rows.last ? all.slice(-1) : all;
      });
      this.found.set(name, out);
    }
    return out;
  }
}
