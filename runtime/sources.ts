import { RuntimeError, reasonOf } from './errors.ts';

/** Bytes that can be read at any place: a file, a URL, an array. Whoever opens one closes it. */
export interface ByteSource {
  /** What to call it in an error message: a path or a URL. */
  readonly label: string;
  /** Length in bytes. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset` on. The result may be a view of a cache: copy it before you change it.
   * @throws RuntimeError `file` when the range leaves the source or reading fails.
   */
  read(offset: number, length: number): Promise<Uint8Array>;
  close?(): Promise<void>;
}

/** @throws RuntimeError `file` unless [offset, offset + length) lies in [0, size). */
export function checkRange(source: { label: string; size: number }, offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= source.size) return;
  throw new RuntimeError('file', `${source.label} ends at byte ${source.size}, but bytes ${offset} to ${offset + length} were asked for. The file is cut short or was changed while it was read: fetch it again.`);
}

/** A source over bytes in memory. */
export function bytesSource(bytes: Uint8Array, label = 'bytes in memory'): ByteSource {
  return {
    label,
    size: bytes.byteLength,
    async read(offset, length) {
      checkRange({ label, size: bytes.byteLength }, offset, length);
      return bytes.subarray(offset, offset + length);
    },
  };
}

export interface FetchSourceOptions {
  /** How many bytes one request brings at least. Tensors stand side by side, so reading ahead saves requests. */
  readonly readAhead?: number;
  /** Called after each piece with the bytes received so far and the size of the whole. */
  readonly onProgress?: (received: number, total: number) => void;
  /** For tests, or to add headers. */
  readonly fetch?: typeof fetch;
}

/**
 * A source over a URL. Where the server answers range requests, only what is read is fetched, `readAhead` bytes at a
 * time; where it does not, the whole body is fetched once and kept.
 * @throws RuntimeError `file` when the server cannot be reached or answers with an error.
 */
export async function fetchSource(url: string, options: FetchSourceOptions = {}): Promise<ByteSource> {
  const readAhead = options.readAhead ?? 8 << 20;
  const get = options.fetch ?? ((input: string, init?: RequestInit) => fetch(input, init));
  let received = 0;

  async function request(first: number, last: number): Promise<Response> {
    let response: Response;
    try {
      response = await get(url, { headers: { Range: `bytes=${first}-${last}` } });
    } catch (cause) {
      throw new RuntimeError('file', `${url} could not be fetched (${reasonOf(cause)}). Check the address, the network, and that the server allows this page's origin.`, { cause });
    }
    if (response.status !== 200 && response.status !== 206 && response.status !== 416) {
      throw new RuntimeError('file', `${url} could not be fetched: the server answered ${response.status} ${response.statusText}. Check that the file is there.`);
    }
    return response;
  }

  async function body(response: Response, total: number): Promise<Uint8Array> {
    try {
      const bytes = new Uint8Array(await response.arrayBuffer());
      received += bytes.byteLength;
      options.onProgress?.(received, total);
      return bytes;
    } catch (cause) {
      throw new RuntimeError('file', `${url} broke off while it was fetched (${reasonOf(cause)}). Try again.`, { cause });
    }
  }

  const head = await request(0, readAhead - 1);
  // An empty file has no first byte, so a server that knows ranges answers 416.
  if (head.status === 416) return bytesSource(new Uint8Array(0), url);
  if (head.status === 200) {
    const whole = await body(head, Number(head.headers.get('content-length') ?? 0));
    return bytesSource(whole, url);
  }
  const size = Number(/\/(\d+)$/.exec(head.headers.get('content-range') ?? '')?.[1] ?? NaN);
  if (!Number.isSafeInteger(size)) {
    throw new RuntimeError('file', `${url}: the server answered a range request without saying how long the file is (Content-Range: ${head.headers.get('content-range') ?? 'absent'}). Let it expose the Content-Range header, or serve the file without ranges.`);
  }
  let start = 0;
  let cache = await body(head, size);
  if (cache.byteLength < Math.min(readAhead, size)) throw shortAnswer(url, Math.min(readAhead, size), cache.byteLength);

  return {
    label: url,
    size,
    async read(offset, length) {
      checkRange({ label: url, size }, offset, length);
      if (offset < start || offset + length > start + cache.byteLength) {
        const want = Math.min(Math.max(length, readAhead), size - offset);
        if (want === 0) return new Uint8Array(0);
        const response = await request(offset, offset + want - 1);
        if (response.status !== 206) throw new RuntimeError('file', `${url}: the server answered the first range request but not a later one (status ${response.status}). Try again, or serve the file without ranges.`);
        const bytes = await body(response, size);
        if (bytes.byteLength !== want) throw shortAnswer(url, want, bytes.byteLength);
        start = offset;
        cache = bytes;
      }
      return cache.subarray(offset - start, offset - start + length);
    },
  };
}

function shortAnswer(url: string, expected: number, given: number): RuntimeError {
  return new RuntimeError('file', `${url}: a range of ${expected} bytes was asked for, the server sent ${given}. Try again, or serve the file without ranges.`);
}
