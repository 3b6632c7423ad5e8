/**
 * Where tensors lie in safetensors files, known before any of them is written. Within a shard, data is ordered by item size,
 * largest first, and the header is padded to 64 bytes: every tensor then starts at a multiple of its item size without holes,
 * which the format forbids.
 */

/** Bytes of one item of each dtype that is written. */
const dtypeBytes = { U8: 1, I8: 1, F16: 2, BF16: 2, I32: 4, U32: 4, F32: 4 } as const;
export type WritableDtype = keyof typeof dtypeBytes;
export interface TensorShape { readonly name: string; readonly dtype: WritableDtype; readonly shape: readonly number[] }

/** A tensor in a shard; `offset` is its first byte, counted from the start of the file. */
export interface PlacedTensor<T extends TensorShape = TensorShape> { readonly tensor: T; readonly offset: number; readonly bytes: number }
export interface ShardLayout<T extends TensorShape = TensorShape> {
  /** File name: `model.safetensors`, or `model-00001-of-00002.safetensors`. */
  readonly file: string;
  /** What the file begins with. */
  readonly header: Uint8Array;
  readonly tensors: readonly PlacedTensor<T>[];
  /** Length of the file. */
  readonly bytes: number;
}

export interface ShardOptions {
  /** Start of the file names; `model` by default. */
  readonly prefix?: string;
  /** A shard is closed before its data would pass this; one larger tensor has a shard for itself. */
  readonly maxShardBytes?: number;
}

const headerAlignment = 64;
export const tensorBytes = (t: TensorShape): number => t.shape.reduce((a, b) => a * b, dtypeBytes[t.dtype] as number);

/** Shards of consecutive tensors; at least one. Two layouts of the same tensors are equal, byte by byte. */
export function layoutShards<T extends TensorShape>(tensors: readonly T[], { prefix = 'model', maxShardBytes = 1 << 30 }: ShardOptions = {}): ShardLayout<T>[] {
  const names = new Set<string>();
  for (const { name } of tensors) {
    if (names.has(name)) throw new Error(`two tensors to write are called "${name}"`);
    names.add(name);
  }
  const groups = split(tensors, maxShardBytes), number = (n: number): string => String(n).padStart(5, '0');
  return groups.map((group, i) => ({ file: groups.length === 1 ? `${prefix}.safetensors` : `${prefix}-${number(i + 1)}-of-${number(groups.length)}.safetensors`, ...layout(group) }));
}

function split<T extends TensorShape>(tensors: readonly T[], limit: number): T[][] {
  const groups: T[][] = [[]];
  let used = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor);
    if (used > 0 && used + bytes > limit) {
      groups.push([]);
      used = 0;
    }
    groups[groups.length - 1]!.push(tensor);
    used += bytes;
  }
  return groups;
}

function layout<T extends TensorShape>(group: readonly T[]): Omit<ShardLayout<T>, 'file'> {
  const ordered = [...group].sort((a, b) => dtypeBytes[b.dtype] - dtypeBytes[a.dtype]); // stable: ties keep their order
  let end = 0;
  const table: Record<string, { dtype: string; shape: readonly number[]; data_offsets: [number, number] }> = Object.create(null);
  for (const t of ordered) table[t.name] = { dtype: t.dtype, shape: t.shape, data_offsets: [end, (end += tensorBytes(t))] };
  const json = new TextEncoder().encode(JSON.stringify(table));
  const start = Math.ceil((8 + json.length) / headerAlignment) * headerAlignment;
  const header = new Uint8Array(start).fill(0x20); // the format pads headers with spaces
  new DataView(header.buffer).setBigUint64(0, BigInt(start - 8), true);
  header.set(json, 8);
  return { header, bytes: start + end, tensors: ordered.map((tensor) => ({ tensor, offset: start + table[tensor.name]!.data_offsets[0], bytes: tensorBytes(tensor) })) };
}
