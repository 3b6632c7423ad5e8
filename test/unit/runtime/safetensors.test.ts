import fc from 'fast-check';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findDuplicateKey } from '../../../runtime/json-keys.ts';
import { fileSource } from '../../../runtime/node-files.ts';
import { DTYPE_BYTES, Safetensors, type SafetensorsDtype } from '../../../runtime/safetensors.ts';
import { bytesSource } from '../../../runtime/sources.ts';

const fixtures = new URL('../../fixtures/', import.meta.url).pathname;

/** A file with this header (an object, or raw text) and this many bytes of data. */
function file(header: unknown, dataBytes = 0, claim?: number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(claim ?? text.length), true);
  bytes.set(text, 8);
  return bytes;
}
const open = (bytes: Uint8Array) => Safetensors.open(bytesSource(bytes, 'w.safetensors'));
const f32 = (shape: number[], begin: number, end: number) => ({ dtype: 'F32', shape, data_offsets: [begin, end] });

describe('sound files', () => {
  test('the fixtures read as they are described', async () => {
    const golden = await Safetensors.open(await fileSource(`${fixtures}llava-clip-llama-a/golden.safetensors`));
    expect(golden.entry('images.0.rgb').dtype).toBe('U8');
    const model = await Safetensors.open(await fileSource(`${fixtures}llava-clip-llama-a/model.safetensors`));
    expect(model.tensors.size).toBeGreaterThan(50);
    for (const name of model.tensors.keys()) expect((await model.f32(name)).length).toBe(model.entry(name).count);
    await Promise.all([golden.close(), model.close()]);
  });

  test('every dtype that holds numbers becomes float32, from unaligned places too', async () => {
    const values: Partial<Record<SafetensorsDtype, ArrayBufferView>> = {
      F64: Float64Array.of(1.5, -2), I64: BigInt64Array.of(3n, -4n), U64: BigUint64Array.of(5n, 6n), F32: Float32Array.of(0.25, -8), I32: Int32Array.of(-9, 10),
      U32: Uint32Array.of(11, 12), F16: Uint16Array.of(0x3c00, 0xc000), BF16: Uint16Array.of(0x3f80, 0xc000), I16: Int16Array.of(-13, 14), U16: Uint16Array.of(15, 16), I8: Int8Array.of(-17, 18), U8: Uint8Array.of(19, 20), BOOL: Uint8Array.of(1, 0),
    }; // prettier-ignore
    const want = [[1.5, -2], [3, -4], [5, 6], [0.25, -8], [-9, 10], [11, 12], [1, -2], [1, -2], [-13, 14], [15, 16], [-17, 18], [19, 20], [1, 0]];
    const header: Record<string, unknown> = { pad: { dtype: 'U8', shape: [3], data_offsets: [0, 3] }, __metadata__: { format: 'pt' } };
    let end = 3;
    for (const [dtype, view] of Object.entries(values)) header[dtype] = { dtype, shape: [2], data_offsets: [end, (end += view.byteLength)] };
    const bytes = file(header, end);
    for (const [dtype, view] of Object.entries(values)) {
      const [begin] = (header[dtype] as { data_offsets: [number, number] }).data_offsets;
      bytes.set(new Uint8Array(view.buffer), bytes.length - end + begin);
    }
    const st = await open(bytes);
    expect(st.metadata).toEqual({ format: 'pt' });
    for (const [i, dtype] of Object.keys(values).entries()) expect([...(await st.f32(dtype))], dtype).toEqual(want[i]);
  });

  test('scalars, empty tensors and names such as __proto__ are fine', async () => {
    const st = await open(file('{"__proto__":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"none":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]}}', 4));
    expect([...st.tensors.keys()]).toEqual(['__proto__', 'none']);
    expect(st.entry('__proto__').count).toBe(1);
    expect((await st.f32('none')).length).toBe(0);
  });

  test('pieces of a tensor join to the whole', async () => {
    const bytes = file({ a: f32([5], 0, 20) }, 20);
    bytes.set(Uint8Array.from({ length: 20 }, (_, i) => i), bytes.length - 20);
    const st = await open(bytes);
    const pieces: number[] = [];
    for await (const piece of st.chunks('a', 8)) pieces.push(...piece);
    expect(pieces).toEqual([...(await st.bytes('a'))]);
    expect([...(await st.bytes('a', 4, 3))]).toEqual([4, 5, 6]);
    await expect(st.bytes('a', 18, 4)).rejects.toThrow(/20 bytes, but bytes 18 to 22/);
  });
});

describe('corrupt files', () => {
  const ok = f32([2], 0, 8);
  const cases: [string, Uint8Array, RegExp][] = [
    ['empty', new Uint8Array(0), /has 0 bytes/],
    ['shorter than the length', new Uint8Array(7), /has 7 bytes/],
    ['a header longer than the file', file({ a: ok }, 8, 5000), /header claims 5000 bytes, but only/],
    ['a header of 2^60 bytes', file({ a: ok }, 8, 2 ** 60), /100000000 is the most/],
    ['no JSON', file('{"a": oops', 0), /header is not JSON/],
    ['no UTF-8', (() => { const b = file('{"aa":1}'); b[10] = 0xff; return b; })(), /header is not JSON/],
    ['no object', file('[1]'), /not a JSON object/],
    ['an entry that is no object', file({ a: 3 }), /"a" is not described by an object/],
    ['a name twice', file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1), /names "a" twice/],
    ['a key twice in an entry', file('{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1), /names "a" in "dtype" twice/],
    ['an unknown dtype', file({ a: { ...ok, dtype: 'F12' } }, 8), /dtype "F12"; known are/],
    ['a dtype out of the prototype', file({ a: { ...ok, dtype: 'toString' } }, 8), /dtype "toString"/],
    ['a negative size', file({ a: { ...ok, shape: [-2] } }, 8), /shape \[-2\]/],
    ['a fractional size', file({ a: { ...ok, shape: [2.5] } }, 8), /shape \[2.5\]/],
    ['no shape', file({ a: { dtype: 'F32', data_offsets: [0, 8] } }, 8), /shape undefined/],
    ['offsets that are text', file({ a: { ...ok, data_offsets: ['0', '8'] } }, 8), /data_offsets \["0","8"\]/],
    ['offsets backwards', file({ a: f32([2], 8, 0) }, 8), /offsets 8 to 0/],
    ['offsets outside', file({ a: f32([3], 0, 12) }, 8), /offsets 0 to 12, and the file holds 8/],
    ['a size that does not fit', file({ a: f32([3], 0, 8) }, 8), /F32\[3\], which takes 12 bytes, but its data offsets 0 to 8 hold 8/],
    ['a product beyond all numbers', file({ a: f32([2 ** 40, 2 ** 40], 0, 8) }, 8), /takes 4.8.*e\+24 bytes/],
    ['an overlap', file({ a: ok, b: f32([2], 4, 12) }, 12), /"b" begins at data offset 4, inside "a"/],
    ['one place for two', file({ a: ok, b: ok }, 8), /inside "a"/],
    ['a hole', file({ a: ok, b: f32([2], 12, 20) }, 20), /no tensor owns the 4 bytes between "a"/],
    ['a hole at the start', file({ a: f32([2], 4, 12) }, 12), /no tensor owns the 4 bytes between the header/],
    ['too long', file({ a: ok }, 9), /tensors end at byte \d+, but the file has/],
    ['metadata that is no text', file({ __metadata__: { n: 1 }, a: ok }, 8), /__metadata__/],
  ]; // prettier-ignore
  test.each(cases)('%s', async (_, bytes, message) => {
    const error = await open(bytes).then(() => undefined, (e: unknown) => e as Error);
    expect(error).toMatchObject({ name: 'RuntimeError', code: 'format', exitCode: 1 });
    expect(error!.message).toMatch(message);
    expect(error!.message).toMatch(/^w\.safetensors is not a sound safetensors file: .*\. Fetch or convert the checkpoint again\.$/s);
  });

  test('cut short anywhere, a file is refused', async () => {
    const whole = file({ a: ok, b: f32([1], 8, 12) }, 12);
    for (let n = 0; n < whole.length; n++) await expect(open(whole.slice(0, n)), `${n} bytes`).rejects.toMatchObject({ code: 'format' });
  });

  test('whatever the bytes, the answer is a sound table or a RuntimeError', async () => {
    const base = file({ a: ok, b: { dtype: 'U8', shape: [3], data_offsets: [8, 11] } }, 11);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), async (edits) => {
        const bytes = base.slice();
        for (const [at, value] of edits) bytes[at] = value;
        const st = await open(bytes).catch((e: unknown) => {
          expect(e).toMatchObject({ name: 'RuntimeError' });
        });
        if (!st) return;
        let sum = 0;
        for (const e of st.tensors.values()) {
          expect(e.bytes).toBe(e.count * DTYPE_BYTES[e.dtype]);
          expect(e.offset + e.bytes).toBeLessThanOrEqual(bytes.length);
          sum += e.bytes;
        }
        expect(sum).toBeLessThanOrEqual(bytes.length - 8);
      }),
      { numRuns: 600 },
    );
  });

  test('NaN and infinite weights are named by index', async () => {
    const bytes = file({ 'w.weight': f32([2, 3], 0, 24) }, 24);
    new DataView(bytes.buffer).setFloat32(bytes.length - 8, NaN, true);
    const st = await open(bytes);
    await expect(st.f32('w.weight')).rejects.toThrow(/"w\.weight" of w\.safetensors holds NaN at \[1, 1\]/);
    expect((await st.f32('w.weight', { allowNonFinite: true }))[4]).toBeNaN();
    await expect(st.f32('v.weight')).rejects.toThrow(/no tensor "v\.weight"; it holds 1 others/);
  });
});

test('a file that shrinks while it is read, a folder and a missing file are named', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'eemllm-test-'));
  try {
    const path = join(dir, 'w.safetensors');
    await writeFile(path, file({ a: f32([2], 0, 8) }, 8));
    const st = await Safetensors.open(await fileSource(path));
    await writeFile(path, 'x');
    await expect(st.f32('a')).rejects.toMatchObject({ code: 'file', message: expect.stringContaining('cut short') });
    await st.close();
    await expect(fileSource(dir)).rejects.toThrow(/is a folder/);
    await expect(fileSource(join(dir, 'nope'))).rejects.toThrow(/does not exist/);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test('duplicate keys are found at any depth, and nothing else is', () => {
  const key = fc.constantFrom('a', 'b', '"', '\\', ':', '{', 'é');
  const value: fc.Memo<string> = fc.memo((n) => {
    const leaf = fc.oneof(key.map((k) => JSON.stringify(k)), fc.constant('1'), fc.constant('null'));
    if (n <= 1) return leaf;
    const object = fc.array(fc.tuple(key, value(n - 1)), { maxLength: 3 }).map((list) => `{${list.map(([k, v]) => `${JSON.stringify(k)} : ${v}`).join(',')}}`);
    return fc.oneof(leaf, object, fc.array(value(n - 1), { maxLength: 3 }).map((list) => `[${list.join(', ')}]`));
  });
  // JSON.parse drops duplicates, so a text without any has as many keys as its parse.
  const count = (v: unknown): number => (typeof v !== 'object' || v === null ? 0 : Array.isArray(v) ? v.reduce((n: number, x) => n + count(x), 0) : Object.values(v).reduce((n: number, x) => n + 1 + count(x), 0));
  fc.assert(
    fc.property(value(4), (json) => {
      const keys = [...json.matchAll(/"(?:[^"\\]|\\.)*" :/g)].length;
      expect(findDuplicateKey(json) === undefined).toBe(keys === count(JSON.parse(json)));
    }),
    { numRuns: 400 },
  );
});
