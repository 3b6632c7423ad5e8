/**
 * How checkpoint tensors lie in the bundle.
 *
 * A matmul group reads one weight of all its linears, row after row: linears of one result interleaved column by column
 * (gate and up), rows of a head that is rotated reordered so that the two halves of a pair are neighbours. Groups that
 * read a run of another group's blocks (keys and values of image rows, beside queries, keys and values of text rows)
 * read that run where it lies; nothing is stored twice unless a binding could not begin there. A tensor of the bundle has one
 * format, so neighbours in different formats are tensors of their own.
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
}
/** A tensor of the bundle: blocks one after the other, `[rows, columns]`. Vectors have one block of one tensor a part. */
export interface Packed {
  readonly name: string;
  readonly blocks: readonly Block[];
  readonly shape: readonly number[];
  readonly format: WeightFormat;
}
export interface PackedView { readonly name: string; readonly firstRow: number; readonly rows: number }

export const blockRows = (b: Block): number => b.rows * b.tensors.length;
const key = (b: Block): string => JSON.stringify([b.tensors, b.rows, b.headDim ?? 0]);
const bindingAlignment = 256;

export class Packing {
  readonly tensors = new Map<string, Packed>();
  private readonly wanted: { blocks: readonly Block[]; columns: number | undefined }[] = [];
  private readonly views = new Map<string, PackedView>();
  /** Packed tensors by the key of each of their blocks. */
  private readonly hosts = new Map<string, { keys: readonly string[]; packed: Packed }[]>();

  /** `formatOf` says in which format a matrix is stored; vectors are f32 in every bundle. */
  constructor(private readonly formatOf: (tensor: string) => WeightFormat) {}

  /**
   * The format of a matrix's block.
   * @throws UserError when interleaved tensors were given different ones: their rows alternate in one tensor.
   */
  format(b: Block): WeightFormat {
    const formats = b.tensors.map((t) => this.formatOf(t)), other = formats.findIndex((f) => printWeightFormat(f) !== printWeightFormat(formats[0]!));
    if (other > 0) throw new UserError(`'${b.tensors[0]}' would be stored as ${printWeightFormat(formats[0]!)} and '${b.tensors[other]}' as ${printWeightFormat(formats[other]!)}, but one kernel reads the two row by row in turn, so they need one format. Let a --keep rule fit both or neither.`);
    return formats[0]!;
  }
  /** Blocks of matrices in runs of one format: what one weight can hold. */
  runs(blocks: readonly Block[]): Block[][] {
    const out: Block[][] = [];
    let last = '';
    for (const b of blocks) {
      const format = printWeightFormat(this.format(b));
      if (format === last) out.at(-1)!.push(b); else out.push([b]);
      last = format;
    }
    return out;
  }

  /** Asks for a weight `[Σ rows, columns]` of blocks in one format, or for a vector `[Σ rows]`, which stays f32 in every bundle. All that is asked for before the first `find` shares what it can. */
  want(blocks: readonly Block[], columns?: number): void { this.wanted.push({ blocks, columns }); }

  /** Where a weight lies: in a tensor of its own, or as a run of another's blocks where a binding may begin there. */
  find(blocks: readonly Block[], columns?: number): PackedView {
    // Longest first, so that a run finds the weight that it is a run of.
    for (const w of this.wanted.splice(0).sort((a, b) => b.blocks.length - a.blocks.length)) this.add(w.blocks, w.columns);
    return this.add(blocks, columns);
  }

  private add(blocks: readonly Block[], columns: number | undefined): PackedView {
    const keys = blocks.map(key), id = keys.join(), rows = blocks.reduce((n, b) => n + blockRows(b), 0);
    const old = this.views.get(id);
    if (old) return old;
    const format: WeightFormat = columns === undefined ? { kind: 'f32' } : this.format(blocks[0]!);
    let view: PackedView | undefined;
    for (const host of this.hosts.get(keys[0]!) ?? []) {
      const at = indexOfRun(host.keys, keys), first = at < 0 ? 0 : this.rowsBefore(host.packed, at);
      if (at >= 0 && (first * rowBytes(format, columns ?? 1)) % bindingAlignment === 0) { view = { name: host.packed.name, firstRow: first, rows }; break; }
    }
    if (!view) {
      const packed: Packed = { name: this.nameOf(blocks), blocks, shape: columns === undefined ? [rows] : [rows, columns], format };
      this.tensors.set(packed.name, packed);
      for (const k of keys) this.hosts.set(k, [...(this.hosts.get(k) ?? []), { keys, packed }]);
      view = { name: packed.name, firstRow: 0, rows };
    }
    this.views.set(id, view);
    return view;
  }
  private rowsBefore(p: Packed, block: number): number { return p.blocks.slice(0, block).reduce((n, b) => n + blockRows(b), 0); }

  /** The tensor's own name where it lies as in the checkpoint; else the names joined, without what they share. */
  private nameOf(blocks: readonly Block[]): string {
    const names = blocks.flatMap((b) => b.tensors);
    const plain = names.length === 1 && blocks[0]!.headDim === undefined;
    let name = names[0]!;
    if (!plain) {
      const split = names.map((n) => n.split('.'));
      let head = 0, tail = 0;
      while (head < split[0]!.length - 1 && split.every((s) => s[head] === split[0]![head])) head++;
      while (tail < split[0]!.length - head - 1 && split.every((s) => s.at(-1 - tail) === split[0]!.at(-1 - tail))) tail++;
      name = [...split[0]!.slice(0, head), split.map((s) => s.slice(head, s.length - tail).join('.')).join('+'), ...split[0]!.slice(split[0]!.length - tail)].join('.') + '.packed';
    }
    for (let i = 2, free = name; ; free = `${name}.${i++}`) if (!this.tensors.has(free)) return free;
  }
}

function indexOfRun(all: readonly string[], run: readonly string[]): number {
  for (let i = 0; i + run.length <= all.length; i++) if (run.every((k, j) => all[i + j] === k)) return i;
  return -1;
}

/** Row `r` of a block: which tensor, and which of its rows. */
export function blockSource(b: Block, r: number): { tensor: string; row: number } {
  const tensor = b.tensors[r % b.tensors.length]!, row = Math.floor(r / b.tensors.length);
  if (b.headDim === undefined) return { tensor, row };
  const head = Math.floor(row / b.headDim) * b.headDim, i = row - head;
  return { tensor, row: head + Math.floor(i / 2) + (i % 2) * (b.headDim / 2) };
}
