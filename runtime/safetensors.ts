/**
 * Reading safetensors: 8 bytes of little-endian header length, a JSON header, then raw little-endian row-major data.
 * Format: https://huggingface.co/docs/safetensors. A file is refused, as the reference implementation refuses it,
 * unless its header describes every byte of the data exactly once.
 */
import { RuntimeError, reasonOf } from './errors.ts';
import { bf16ToF32, f16ToF32, findNonFinite } from './half.ts';
import { findDuplicateKey } from './json-keys.ts';
import type { ByteSource } from './sources.ts';

/** Bytes of one item of each dtype of the format. */
export const DTYPE_BYTES = {
  BOOL: 1, U8: 1, I8: 1, F8_E5M2: 1, F8_E4M3: 1,
  I16: 2, U16: 2, F16: 2, BF16: 2,
  I32: 4, U32: 4, F32: 4,
  F64: 8, I64: 8, U64: 8,
} as const; // prettier-ignore
export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

/** Headers above this are refused by every reader of the format. */
const MAX_HEADER_BYTES = 100_000_000;

/** One tensor of a file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Number of items: the product of `shape`. */
  readonly count: number;
  /** First byte of the data, counted from the start of the file. */
  readonly offset: number;
  /** Length of the data in bytes. */
  readonly bytes: number;
}

/** A file whose header has been read and checked. Data is read only when asked for. */
export class Safetensors {
  private constructor(
    private readonly source: ByteSource,
    /** Every tensor by its name, in the order of their data in the file. */
    readonly tensors: ReadonlyMap<string, TensorEntry>,
    /** The free text that the writer left under `__metadata__`. */
    readonly metadata: Readonly<Record<string, string>>,
  ) {}

  /**
   * Reads and checks the header.
   * @throws RuntimeError `format` naming the file, the tensor, what was expected and what stands there.
   */
  static async open(source: ByteSource): Promise<Safetensors> {
    const { entries, metadata } = await readHeader(source);
    return new Safetensors(source, new Map(entries.map((e) => [e.name, e])), metadata);
  }

  get label(): string {
    return this.source.label;
  }

  /** @throws RuntimeError `format` when the file has no tensor of this name. */
  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (!entry) throw new RuntimeError('format', `${this.label} has no tensor "${name}"; it holds ${this.tensors.size} others. Check that the checkpoint belongs to this model.`);
    return entry;
  }

  /** The raw bytes of a tensor, or of a part of it: `length` bytes from `start` on, counted within the tensor. */
  async bytes(name: string, start = 0, length?: number): Promise<Uint8Array> {
    const entry = this.entry(name);
    const count = length ?? entry.bytes - start;
    if (!(start >= 0 && count >= 0 && start + count <= entry.bytes)) {
      throw new RuntimeError('value', `Tensor "${name}" of ${this.label} has ${entry.bytes} bytes, but bytes ${start} to ${start + count} were asked for.`);
    }
    return this.source.read(entry.offset + start, count);
  }

  /** The raw bytes of a tensor in pieces of at most `chunkBytes`, for tensors too large to hold at once. */
  async *chunks(name: string, chunkBytes = 64 << 20): AsyncGenerator<Uint8Array> {
    const { bytes } = this.entry(name);
    for (let at = 0; at < bytes; at += chunkBytes) yield this.bytes(name, at, Math.min(chunkBytes, bytes - at));
  }

  /**
   * A tensor as float32: exact for F32, F16, BF16 and the small integer types, rounded for F64 and wide integers.
   * @throws RuntimeError `format` for a missing tensor, a dtype that is no number, or, unless `allowNonFinite`, a NaN
   *   or an infinity in a floating-point tensor.
   */
  async f32(name: string, options: { readonly allowNonFinite?: boolean } = {}): Promise<Float32Array> {
    const entry = this.entry(name);
    const values = toF32(await this.bytes(name), entry.dtype, `Tensor "${name}" of ${this.label}`);
    if (!options.allowNonFinite) assertFinite(values, entry, this.label);
    return values;
  }

  /** Closes the source, where it can be closed. */
  async close(): Promise<void> {
    await this.source.close?.();
  }
}

/** @throws RuntimeError `format` naming the first NaN or infinity among `values`, the items of `entry`. */
export function assertFinite(values: Float32Array, entry: Pick<TensorEntry, 'name' | 'shape'>, label: string): void {
  const at = findNonFinite(values);
  if (at < 0) return;
  let rest = at;
  const index = [...entry.shape].reverse().map((n) => { const i = rest % n; rest = (rest - i) / n; return i; }).reverse();
  throw new RuntimeError('format', `Tensor "${entry.name}" of ${label} holds ${values[at]} at [${index.join(', ')}]; every weight must be a finite number. The training run or the conversion to a smaller dtype went wrong: fetch or convert the checkpoint again.`);
}

/**
 * Raw little-endian items as float32.
 * @throws RuntimeError `format` for dtypes that this runtime does not read as numbers (the 8-bit floats).
 */
export function toF32(bytes: Uint8Array, dtype: SafetensorsDtype, what = 'The tensor'): Float32Array {
  // The data may start anywhere in the file's buffer; typed arrays want a multiple of the item size.
  const own = bytes.byteOffset % DTYPE_BYTES[dtype] === 0 ? bytes : bytes.slice();
  const count = own.byteLength / DTYPE_BYTES[dtype];
  switch (dtype) {
    case 'F32': return new Float32Array(own.buffer, own.byteOffset, count).slice();
    case 'F16': return f16ToF32(new Uint16Array(own.buffer, own.byteOffset, count));
    case 'BF16': return bf16ToF32(new Uint16Array(own.buffer, own.byteOffset, count));
    case 'F64': return Float32Array.from(new Float64Array(own.buffer, own.byteOffset, count));
    case 'I64': return Float32Array.from(new BigInt64Array(own.buffer, own.byteOffset, count), Number);
    case 'U64': return Float32Array.from(new BigUint64Array(own.buffer, own.byteOffset, count), Number);
    case 'I32': return Float32Array.from(new Int32Array(own.buffer, own.byteOffset, count));
    case 'U32': return Float32Array.from(new Uint32Array(own.buffer, own.byteOffset, count));
    case 'I16': return Float32Array.from(new Int16Array(own.buffer, own.byteOffset, count));
    case 'U16': return Float32Array.from(new Uint16Array(own.buffer, own.byteOffset, count));
    case 'I8': return Float32Array.from(new Int8Array(own.buffer, own.byteOffset, count));
    case 'U8':
    case 'BOOL': return Float32Array.from(own);
    default:
      throw new RuntimeError('format', `${what} has dtype ${dtype}, which this runtime does not read. Convert the checkpoint to F16, BF16 or F32.`);
  } // prettier-ignore
}

async function readHeader(source: ByteSource): Promise<{ entries: TensorEntry[]; metadata: Record<string, string> }> {
  const bad = (what: string, cause?: unknown) =>
    new RuntimeError('format', `${source.label} is not a sound safetensors file: ${what}. Fetch or convert the checkpoint again.`, { cause });

  if (source.size < 8) throw bad(`it has ${source.size} bytes, and the header's length alone takes 8`);
  const prefix = await source.read(0, 8);
  const view = new DataView(prefix.buffer, prefix.byteOffset, 8);
  const low = view.getUint32(0, true);
  const high = view.getUint32(4, true);
  const headerBytes = high * 2 ** 32 + low;
  if (headerBytes > MAX_HEADER_BYTES) {
    throw bad(`its first 8 bytes promise a header of ${headerBytes} bytes, and ${MAX_HEADER_BYTES} is the most that the format allows (is it a safetensors file at all?)`);
  }
  if (8 + headerBytes > source.size) throw bad(`its header claims ${headerBytes} bytes, but only ${source.size - 8} follow; it is cut short`);

  let text: string;
  let json: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(await source.read(8, headerBytes));
    json = JSON.parse(text);
  } catch (cause) {
    if (cause instanceof RuntimeError) throw cause;
    throw bad(`its header is not JSON (${reasonOf(cause)})`, cause);
  }
  if (!isRecord(json)) throw bad('its header is not a JSON object');
  const twice = findDuplicateKey(text);
  if (twice) throw bad(`its header names ${twice} twice`);

  const { __metadata__: meta, ...tensors } = json;
  if (meta !== undefined && !(isRecord(meta) && Object.values(meta).every((v) => typeof v === 'string'))) {
    throw bad('"__metadata__" is not an object of strings');
  }
  const dataStart = 8 + headerBytes;
  const entries = Object.entries(tensors)
    .map(([name, raw]) => readEntry(name, raw, dataStart, source.size - dataStart, bad))
    .sort((a, b) => a.offset - b.offset || a.bytes - b.bytes || (a.name < b.name ? -1 : 1));

  // Sorted by offset, each tensor must begin where the one before it ends, and the last must end the file.
  let end = dataStart;
  let before = 'the header';
  for (const entry of entries) {
    const place = `data offset ${entry.offset - dataStart}`;
    if (entry.offset < end) throw bad(`tensor "${entry.name}" begins at ${place}, inside ${before}, which ends at ${end - dataStart}`);
    if (entry.offset > end) throw bad(`no tensor owns the ${entry.offset - end} bytes between ${before}, which ends at data offset ${end - dataStart}, and "${entry.name}", which begins at ${entry.offset - dataStart}`);
    end = entry.offset + entry.bytes;
    if (entry.bytes > 0) before = `"${entry.name}"`;
  }
  if (end !== source.size) throw bad(`its tensors end at byte ${end}, but the file has ${source.size}`);
  return { entries, metadata: (meta ?? {}) as Record<string, string> };
}

function readEntry(name: string, raw: unknown, dataStart: number, dataBytes: number, bad: (what: string) => RuntimeError): TensorEntry {
  const where = `tensor "${name}"`;
  if (!isRecord(raw)) throw bad(`${where} is not described by an object`);
  const { dtype, shape, data_offsets: range } = raw;
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    throw bad(`${where} has dtype ${JSON.stringify(dtype)}; known are ${Object.keys(DTYPE_BYTES).join(', ')}`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) throw bad(`${where} has shape ${JSON.stringify(shape)}, not a list of sizes`);
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isSize)) throw bad(`${where} has data_offsets ${JSON.stringify(range)}, not [begin, end]`);
  const [begin, end] = range as [number, number];
  if (begin > end || end > dataBytes) throw bad(`${where} claims data offsets ${begin} to ${end}, and the file holds ${dataBytes} bytes of data`);
  const itemBytes = DTYPE_BYTES[dtype as SafetensorsDtype];
  const count = (shape as number[]).reduce((a, b) => a * b, 1);
  // A product beyond 2^53 is no exact number, but then it is far from any file's size too.
  if (count * itemBytes !== end - begin) {
    throw bad(`${where} is ${dtype}[${shape.join(', ')}], which takes ${count * itemBytes} bytes, but its data offsets ${begin} to ${end} hold ${end - begin}`);
  }
  return { name, dtype: dtype as SafetensorsDtype, shape: shape as number[], count, offset: dataStart + begin, bytes: end - begin };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
