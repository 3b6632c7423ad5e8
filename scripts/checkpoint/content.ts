/** Random weights of ordinary magnitude, as quickly as they can be written: every tensor is a walk through a pool of normal numbers. */
import { toF16 } from '../../runtime/half.ts';

export const checkpointDtypes = { f16: 'F16', bf16: 'BF16', f32: 'F32' } as const;
export type CheckpointDtype = keyof typeof checkpointDtypes;

/** Numbers of a pool: no power of two, so that rows of a matrix are not alike. */
const poolLength = 1_000_003;
/** Bytes that are handed to the writer at a time. */
const pieceBytes = 8 << 20;

export class Content {
  private readonly normal: Float32Array;
  private readonly pools = new Map<string, Uint8Array>();

  constructor(private readonly dtype: CheckpointDtype, seed: number) {
    let a = seed;
    // Mulberry32 (Tommy Ettinger, public domain); normal numbers as sums of four uniform ones.
    const uniform = (): number => {
      a = (a + 0x6d2b79f5) | 0;
      let t = Math.imul(a ^ (a >>> 15), 1 | a);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    this.normal = Float32Array.from({ length: poolLength }, () => Math.sqrt(3) * (uniform() + uniform() + uniform() + uniform() - 2));
  }

  /** A tensor's data in pieces: gains around 1, biases around 0, matrices that keep the size of what they multiply. */
  async *data(name: string, shape: readonly number[]): AsyncGenerator<Uint8Array> {
    const matrix = shape.length > 1, mean = !matrix && name.endsWith('weight') ? 1 : 0, width = shape.slice(1).reduce((x, y) => x * y, 1);
    const pool = this.pool(mean, matrix ? 0.7 / Math.sqrt(width) : 0.05), item = pool.length / poolLength;
    let left = shape.reduce((x, y) => x * y, item), at = ([...name].reduce((h, c) => (Math.imul(h, 31) + c.charCodeAt(0)) >>> 0, 7) % poolLength) * item;
    while (left > 0) {
      const piece = new Uint8Array(Math.min(left, pieceBytes));
      for (let to = 0; to < piece.length; ) {
        const count = Math.min(piece.length - to, pool.length - at);
        piece.set(pool.subarray(at, at + count), to);
        to += count;
        at = (at + count) % pool.length;
      }
      left -= piece.length;
      yield piece;
    }
  }

  private pool(mean: number, deviation: number): Uint8Array {
    const key = `${mean} ${deviation}`, old = this.pools.get(key);
    if (old) return old;
    const values = this.normal.map((x) => mean + deviation * x), bits = new Uint32Array(values.buffer);
    const items = this.dtype === 'f32' ? values : this.dtype === 'f16' ? Uint16Array.from(values, toF16) : Uint16Array.from(bits, (b) => b >>> 16);
    const made = new Uint8Array(items.buffer);
    this.pools.set(key, made);
    return made;
  }
}
