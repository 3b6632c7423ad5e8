/**
 * How checkpoint tensors lie in the bundle.
 *
 * A matmul group reads one weight of all its linears, row after row: linears of one result interleaved column by column
 * (gate and up), rows of a head that is rotated reordered so that the two halves of a pair are neighbours. Groups that
 * read a run of another group's blocks (keys and values of image rows, beside queries, keys and values of text rows)
 * read that run where it lies; nothing is stored twice unless a binding could not begin there.
 *
 * A tensor of the bundle has one format and is at most as large as a device may bind, so what is asked for as one weight may
 * lie in several tensors: neighbours in different formats, blocks that are too large together, and slices of one block that
 * is too large alone (a head over a large vocabulary).
 */
import { UserError } from '../ir/errors.ts';
import type { WeightFormat } from '../ir/weight-format.ts';
import { printWeightFormat, rowBytes } from '../ir/weight-format.ts';

/** Rows of the checkpoint's tensors in the order in which a group reads them. */
export interface Block {
  /** Linears interleaved row by row. */
  readonly tensors: readonly string[];
  /** Rows of each. */
  readonly rows: number;
  /** Size of the heads whose rows (i, i + d/2) become neighbours. */
  readonly headDim?: number;
  /** Of a slice: the first of its rows in each tensor. */
  readonly first?: number;
}
/** A tensor of the bundle: blocks one after the other, `[rows, columns]`. Vectors have one block of one tensor a part. */
export interface Packed {
  readonly name: string;
  readonly blocks: readonly Block[];
  readonly shape: readonly number[];
  readonly format: WeightFormat;
}
/** Rows `[first, first + rows)` of each linear of block number `of` of those asked for, and the block that they are by themselves. */
export interface Part { readonly of: number; readonly first: number; readonly rows: number; readonly block: Block }
/** Consecutive rows of a tensor of the bundle, and the parts of what was asked for that they are. */
export interface PackedView { readonly name: string; readonly firstRow: number; readonly rows: number; readonly parts: readonly Part[] }

export const blockRows = (b: Block): number => b.rows * b.tensors.length;
const rowsOf = (blocks: readonly Block[]): number => blocks.reduce((n, b) => n + blockRows(b), 0);
const key = (b: Block): string => JSON.stringify([b.tensors, b.first ?? 0, b.rows, b.headDim ?? 0]);
const bindingAlignment = 256;
/** Slices are so many columns wide, or a multiple, where the limit leaves room for it: tiles of kernels fit in whole. */
const sliceColumns = 64;

/** Blocks laid together, in one tensor or, where one would be too large, in several. */
interface Laid { readonly keys: readonly string[]; readonly tensors: readonly Packed[] }

/** What is asked for in one format. */
interface Run { readonly parts: readonly Part[]; readonly format: WeightFormat; readonly columns: number | undefined }

export interface PackingOptions {
  /** Most bytes of a tensor; any number by default. */
  readonly limit?: number;
}

export class Packing {
  readonly tensors = new Map<string, Packed>();
  private readonly limit: number;
  private readonly wanted: Run[] = [];
  /** What was laid together, by the key of each of its blocks. */
  private readonly laid = new Map<string, Laid[]>();

  /** `formatOf` says in which format a matrix is stored; vectors are f32 in every bundle. */
  constructor(private readonly formatOf: (tensor: string) => WeightFormat, { limit = Infinity }: PackingOptions = {}) { this.limit = limit; }

  /**
   * The format of a matrix's block.
   * @throws UserError when interleaved tensors were given different ones: their rows alternate in one tensor.
   */
  format(b: Block): WeightFormat {
    const formats = b.tensors.map((t) => this.formatOf(t)), other = formats.findIndex((f) => printWeightFormat(f) !== printWeightFormat(formats[0]!));
    if (other > 0) throw new UserError(`'${b.tensors[0]}' would be stored as ${printWeightFormat(formats[0]!)} and '${b.tensors[other]}' as ${printWeightFormat(formats[other]!)}, but one kernel reads the two row by row in turn, so they need one format. Let a --keep rule fit both or neither.`);
    return formats[0]!;
  }

  /** Asks for a weight `[Σ rows, columns]` of blocks, or for a vector `[Σ rows]`. All that is asked for before the first `find` shares what it can. */
  want(blocks: readonly Block[], columns?: number): void { this.wanted.push(...this.runs(blocks, columns)); }

  /**
   * Where a weight lies, in its own order: in a tensor of its own, as a run of another's blocks where a binding may begin
   * there, or in several of these.
   * @throws UserError when one row, or the rows of one rotated head, are more than the limit.
   */
  find(blocks: readonly Block[], columns?: number): PackedView[] {
    // Longest first, so that a run finds the weight that it is a run of.
    for (const run of this.wanted.splice(0).sort((a, b) => b.parts.length - a.parts.length)) this.place(run);
    return this.runs(blocks, columns).flatMap((run) => this.place(run));
  }

  /** Neighbours in one format, each block whole or in slices. */
  private runs(blocks: readonly Block[], columns: number | undefined): Run[] {
    const runs: { parts: Part[]; format: WeightFormat; columns: number | undefined }[] = [];
    blocks.forEach((block, of) => {
      const format: WeightFormat = columns === undefined ? { kind: 'f32' } : this.format(block), last = runs.at(-1);
      const parts = this.cut(block, format, columns).map((slice): Part => ({ of, first: (slice.first ?? 0) - (block.first ?? 0), rows: slice.rows, block: slice }));
      if (last && printWeightFormat(last.format) === printWeightFormat(format)) last.parts.push(...parts);
      else runs.push({ parts, format, columns });
    });
    return runs;
  }

  /** A block, in slices where it is larger than the limit. Slices are about equal, and heads and linears stay whole. */
  private cut(b: Block, format: WeightFormat, columns: number | undefined): Block[] {
    const one = rowBytes(format, columns ?? 1) * b.tensors.length, most = Math.floor(this.limit / one);
    if (b.rows <= most) return [b];
    const unit = b.headDim ?? Math.min(sliceColumns, 2 ** Math.floor(Math.log2(Math.max(1, most)))), units = Math.floor(most / unit);
    if (units < 1 || columns === undefined) {
      const what = columns === undefined ? `The vector '${b.tensors[0]}' takes ${b.rows * one}` : `${b.headDim ? `A head of '${b.tensors[0]}' (${b.headDim} rows)` : `A row of '${b.tensors.join("' and '")}'`} takes ${one * unit}`;
      throw new UserError(`${what} bytes, more than a device may bind at once (${this.limit} bytes). Raise --binding-limit.`);
    }
    const slices = Math.ceil(b.rows / (units * unit)), rows = Math.ceil(b.rows / slices / unit) * unit;
    return Array.from({ length: Math.ceil(b.rows / rows) }, (_, i) => ({ ...b, first: (b.first ?? 0) + i * rows, rows: Math.min(rows, b.rows - i * rows) }));
  }

  private place({ parts, format, columns }: Run): PackedView[] {
    const keys = parts.map((p) => key(p.block)), row = rowBytes(format, columns ?? 1);
    for (const laid of this.laid.get(keys[0]!) ?? []) {
      const at = indexOfRun(laid.keys, keys), views = at < 0 ? [] : viewsOf(laid, at, parts);
      if (views.length && views.every((v) => (v.firstRow * row) % bindingAlignment === 0)) return views;
    }
    const groups: Part[][] = [];
    for (const p of parts) {
      const last = groups.at(-1), bytes = [...(last ?? []), p].reduce((n, x) => n + blockRows(x.block) * row, 0);
      // A slice is about as large as a tensor may be; alone, its name says which it is.
      if (!last || bytes > this.limit || last.at(-1)!.block.first !== undefined || p.block.first !== undefined) groups.push([p]);
      else last.push(p);
    }
    const tensors = groups.map((group): Packed => {
      const blocks = group.map((p) => p.block), rows = rowsOf(blocks);
      const packed: Packed = { name: this.nameOf(blocks), blocks, shape: columns === undefined ? [rows] : [rows, columns], format };
      this.tensors.set(packed.name, packed);
      return packed;
    });
    const laid: Laid = { keys, tensors };
    for (const k of keys) this.laid.set(k, [...(this.laid.get(k) ?? []), laid]);
    return viewsOf(laid, 0, parts);
  }

  /** The tensor's own name where it lies as in the checkpoint; else the names joined, without what they share. */
  private nameOf(blocks: readonly Block[]): string {
    const names = blocks.flatMap((b) => b.tensors), { first, rows } = blocks[0]!;
    const plain = names.length === 1 && blocks[0]!.headDim === undefined;
    let name = names[0]!;
    if (!plain) {
      const split = names.map((n) => n.split('.'));
      let head = 0, tail = 0;
      while (head < split[0]!.length - 1 && split.every((s) => s[head] === split[0]![head])) head++;
      while (tail < split[0]!.length - head - 1 && split.every((s) => s.at(-1 - tail) === split[0]!.at(-1 - tail))) tail++;
      name = [...split[0]!.slice(0, head), split.map((s) => s.slice(head, s.length - tail).join('.')).join('+'), ...split[0]!.slice(split[0]!.length - tail)].join('.') + '.packed';
    }
    if (first !== undefined) name += `[${first}:${first + rows}]`;
    for (let i = 2, free = name; ; free = `${name}.${i++}`) if (!this.tensors.has(free)) return free;
  }
}

function indexOfRun(all: readonly string[], run: readonly string[]): number {
  for (let i = 0; i + run.length <= all.length; i++) if (run.every((k, j) => all[i + j] === k)) return i;
  return -1;
}

/** The blocks of `laid` from number `at` on, which are those of `parts`, tensor by tensor. */
function viewsOf({ tensors }: Laid, at: number, parts: readonly Part[]): PackedView[] {
  const views: PackedView[] = [];
  let before = 0;
  for (const { name, blocks } of tensors) {
    const from = Math.max(0, at - before), to = Math.min(blocks.length, at + parts.length - before);
    if (from < to) views.push({ name, firstRow: rowsOf(blocks.slice(0, from)), rows: rowsOf(blocks.slice(from, to)), parts: parts.slice(before + from - at, before + to - at) });
    before += blocks.length;
  }
  return views;
}

/** Row `r` of a block: which tensor, and which of its rows. */
export function blockSource(b: Block, r: number): { tensor: string; row: number } {
  const tensor = b.tensors[r % b.tensors.length]!, row = (b.first ?? 0) + Math.floor(r / b.tensors.length);
  if (b.headDim === undefined) return { tensor, row };
  const head = Math.floor(row / b.headDim) * b.headDim, i = row - head;
  return { tensor, row: head + Math.floor(i / 2) + (i % 2) * (b.headDim / 2) };
}
