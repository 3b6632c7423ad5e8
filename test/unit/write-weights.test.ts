/** Weight files of a bundle: cut into pieces anywhere, packed on any number of threads, and kept when a compilation was killed. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { weightsOf } from '../../compiler/bundle/packed-weights.ts';
import type { Packed } from '../../compiler/bundle/packing.ts';
import { RowPacker } from '../../compiler/bundle/pack-rows.ts';
import type { QuantisationError } from '../../compiler/bundle/quantise.ts';
import { addErrors } from '../../compiler/bundle/quantise.ts';
import type { WeightSource } from '../../compiler/bundle/weight-source.ts';
import { FileRanges } from '../../compiler/bundle/weight-source.ts';
import { WorkFolder } from '../../compiler/bundle/work-folder.ts';
import { writeBundle } from '../../compiler/bundle/write.ts';
import type { WeightsToWrite, WriteWeightsOptions } from '../../compiler/bundle/write-weights.ts';
import { weightsKey, writeWeights } from '../../compiler/bundle/write-weights.ts';
import { fileSource } from '../../runtime/node-files.ts';
import { readPieces } from '../../runtime/pieces.ts';
import { Safetensors } from '../../runtime/safetensors.ts';
import { PieceWriter } from '../../runtime/weights.ts';
import { stored } from '../support/packed.ts';

const folder = mkdtempSync(join(tmpdir(), 'eemllm-weights-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let count = 0;
const fresh = (): string => join(folder, `x${count++}`, 'out');

/** Tensors of 24 × 10 in bf16 and f32, and a vector. */
const source = (name: string, dtype: 'F32' | 'BF16', shape: readonly number[], seed: number): WeightSource => {
  const path = join(folder, `${name}.bin`);
  writeFileSync(path, stored(Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 1.7 + seed)), dtype));
  return { name, path, offset: 0, dtype, shape };
};
let sources: Record<string, WeightSource>;
beforeAll(() => { sources = { q: source('q', 'BF16', [24, 10], 1), gate: source('gate', 'F32', [24, 10], 2), up: source('up', 'F32', [24, 10], 3), norm: source('norm', 'F32', [9], 4) }; });
const tensors: readonly Packed[] = [
  { name: 'norm', blocks: [{ tensors: ['norm'], rows: 9 }], shape: [9], format: { kind: 'f32' } },
  { name: 'q', blocks: [{ tensors: ['q'], rows: 24, headDim: 4 }], shape: [24, 10], format: { kind: 'f16' } },
  { name: 'gate+up', blocks: [{ tensors: ['gate', 'up'], rows: 24 }], shape: [48, 10], format: { kind: 'int4', group: 32, symmetric: true } },
  { name: 'odd', blocks: [{ tensors: ['gate'], rows: 3, first: 5 }], shape: [3, 10], format: { kind: 'f16' } },
];
const small: WriteWeightsOptions = { maxShardBytes: 700, pieceBytes: 100, threads: 0 };
type Noted = Map<string, QuantisationError>;
const weights = (noted: Noted = new Map()): WeightsToWrite => weightsOf(tensors, (name) => sources[name]!, (tensor, e) => { const old = noted.get(tensor); noted.set(tensor, old ? addErrors(old, e) : e); });

async function write(options: WriteWeightsOptions = small, target = fresh()) {
  const noted: Noted = new Map(), w = weights(noted), work = await WorkFolder.open(target, weightsKey(w, options));
  return { files: await writeWeights(work, w, options), noted, work };
}
/** The bytes of every tensor, packed whole. */
const whole = (): Map<string, Uint8Array> => {
  const ranges = new FileRanges(), packer = new RowPacker(ranges, sources), out = new Map(tensors.map((p) => [p.name, packer.rows(p, 0, p.shape[0]!).slice()]));
  ranges.close();
  return out;
};

describe('pieces', () => {
  test('of any length give the same files and errors, and each has its hash', async () => {
    const want = whole(), first = await write();
    for (const pieceBytes of [16, 77, 1000, 1 << 20]) {
      const { files, noted, work } = await write({ ...small, pieceBytes }), found = new Set<string>();
      for (const f of files) {
        const bytes = readFileSync(join(work.path, f.file)), st = await Safetensors.open(await fileSource(join(work.path, f.file)));
        expect([bytes.length, f.pieceBytes]).toEqual([f.bytes, pieceBytes]);
        expect(f.pieces).toEqual(Array.from({ length: Math.ceil(f.bytes / pieceBytes) }, (_, i) => createHash('sha256').update(bytes.subarray(i * pieceBytes, (i + 1) * pieceBytes)).digest('hex')));
        for (const name of st.tensors.keys()) { expect(await st.bytes(name)).toEqual(want.get(name)); found.add(name); }
        await st.close();
      }
      expect([...found].sort()).toEqual([...want.keys()].sort());
      // Every row is counted once, wherever pieces are cut.
      for (const [tensor, e] of noted) { expect(e.squares).toBeCloseTo(first.noted.get(tensor)!.squares, 9); expect(e.worst).toBe(first.noted.get(tensor)!.worst); }
    }
  });
  test('packed on threads give the same files', async () => {
    const one = await write(), several = await write({ ...small, threads: 2 });
    expect(several.files).toEqual(one.files);
    expect(several.noted).toEqual(one.noted);
    for (const { file } of one.files) expect(readFileSync(join(several.work.path, file)).equals(readFileSync(join(one.work.path, file)))).toBe(true);
  });
  test('an error of a thread is told as it was thrown', async () => {
    const w = { ...weights(), sources: { ...sources, q: source('q', 'F32', [24, 10], 1e6) } };
    writeFileSync(w.sources.q.path, stored(Array.from({ length: 240 }, () => 1e6), 'F32'));
    for (const threads of [0, 1]) await expect(writeWeights(await WorkFolder.open(fresh(), 'k'), w, { ...small, threads })).rejects.toMatchObject({ name: 'UserError', exitCode: 1, message: expect.stringMatching(/'q' holds 1000000, which f16 cannot hold/) });
    sources = { ...sources, q: source('q', 'BF16', [24, 10], 1) };
  });

  test('reach the device in multiples of 4 bytes, and whole', async () => {
    await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 60 }), fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 6 }), fc.integer({ min: 0, max: 9 }), async (length, sizes, header) => {
      const file = Uint8Array.from({ length: header + sizes.reduce((a, b) => a + b, 0) }, (_, i) => (i * 7 + 1) % 251), buffers = new Map<string, Uint8Array>();
      let at = header;
      const parts = sizes.map((n, i) => ({ begin: at, end: (at += n), buffer: `b${i}`, offset: 4 * (i % 3) }));
      for (const p of parts) buffers.set(p.buffer, new Uint8Array(Math.ceil((p.offset + p.end - p.begin) / 4) * 4));
      const writer = new PieceWriter(parts, (name, offset, data) => {
        expect([offset % 4, data.byteLength % 4]).toEqual([0, 0]);
        buffers.get(name)!.set(data, offset);
      });
      for (let offset = 0; offset < file.length; offset += length) writer.write({ offset, bytes: file.slice(offset, offset + length) });
      for (const p of parts) expect(buffers.get(p.buffer)!.subarray(p.offset, p.offset + p.end - p.begin)).toEqual(file.subarray(p.begin, p.end));
    }), { numRuns: 200 });
  });
  test('are refused when a byte was changed, and when the file has another length', async () => {
    const { files, work } = await write(), [file] = files, path = join(work.path, file!.file), bytes = readFileSync(path);
    const read = async (): Promise<number> => {
      const from = await fileSource(path);
      let n = 0;
      try { for await (const p of readPieces(from, file!)) n += p.bytes.byteLength; } finally { await from.close(); }
      return n;
    };
    expect(await read()).toBe(file!.bytes);
    bytes[250]! ^= 1;
    writeFileSync(path, bytes);
    await expect(read()).rejects.toThrow(`${path} is not the file that the bundle was made with: the SHA-256 of bytes 200 to 300 differs from the one in bundle.json.`);
    writeFileSync(path, bytes.subarray(0, 300));
    await expect(read()).rejects.toThrow(`${path} has 300 bytes, bundle.json says ${file!.bytes}. The download or copy is incomplete: fetch it again.`);
  });
});

describe('a compilation that was killed', () => {
  /** As `write`, but stopped as a kill would after so many bytes: nothing is cleared up. */
  async function killed(target: string, after: number): Promise<WorkFolder> {
    const w = weights(), work = await WorkFolder.open(target, weightsKey(w, small));
    await expect(writeWeights(work, w, { ...small, onProgress: (done) => { if (done >= after) throw new Error('killed'); } })).rejects.toThrow('killed');
    return work;
  }
  const shards = (path: string): string[] => readdirSync(path).filter((f) => f.endsWith('.safetensors'));
  const times = (path: string): Record<string, number> => Object.fromEntries(shards(path).map((f) => { utimesSync(join(path, f), 1, 1); return [f, 1000]; }));
  const kept = (path: string, before: Record<string, number>): string[] => shards(path).filter((f) => statSync(join(path, f)).mtimeMs === before[f]);

  test('goes on where it was, and gives the same files and errors', async () => {
    const target = fresh(), want = await write(), { path } = await killed(target, 900), before = times(path), done = readdirSync(path).filter((f) => f.endsWith('.done.json')).length;
    expect(done).toBeGreaterThan(0);
    const again = await write(small, target);
    expect(again.work.path).toBe(path);
    expect(again.files).toEqual(want.files);
    expect(again.noted).toEqual(want.noted);
    expect(kept(path, before)).toHaveLength(done);
    for (const { file } of want.files) expect(readFileSync(join(path, file)).equals(readFileSync(join(want.work.path, file)))).toBe(true);
  });
  test('a shard that is not as it was noted is packed again', async () => {
    const target = fresh(), want = await write(), { path } = await killed(target, 900), [first] = shards(path);
    const bytes = readFileSync(join(path, first!));
    bytes[bytes.length - 1]! ^= 255;
    writeFileSync(join(path, first!), bytes);
    expect((await write(small, target)).files).toEqual(want.files);
    expect(readFileSync(join(path, first!)).equals(readFileSync(join(want.work.path, first!)))).toBe(true);
  });
  test.each(['', '{', '{"pieces":[]}', '{"pieces":["x"],"errors":[[1]]}'])('a note %j is not trusted', async (text) => {
    const target = fresh(), want = await write(), { path } = await killed(target, 900), before = times(path);
    for (const f of readdirSync(path).filter((x) => x.endsWith('.done.json'))) writeFileSync(join(path, f), text);
    expect((await write(small, target)).files).toEqual(want.files);
    expect(kept(path, before)).toEqual([]);
  });
  test('other inputs or options begin anew', async () => {
    const target = fresh(), { path } = await killed(target, 900), before = times(path);
    utimesSync(sources['norm']!.path, 5, 5); // the checkpoint was fetched again
    const again = await write(small, target);
    expect(again.work.path).toBe(path);
    expect(kept(path, before)).toEqual([]);
    expect(weightsKey(weights(), small)).not.toBe(weightsKey(weights(), { ...small, pieceBytes: 99 }));
    expect(weightsKey(weights(), small)).toBe(weightsKey(weights(), { ...small, threads: 4 }));
  });
  test("somebody else's folder is left alone, and so is that of a compilation that still runs", async () => {
    for (const owner of [undefined, JSON.stringify({ eemllm: 'work', key: 'k', host: hostname(), pid: 1 }), JSON.stringify({ eemllm: 'work', key: 'k', host: 'elsewhere', pid: 99999999 })]) {
      const target = fresh(), usual = join(target, '..', '.out.work');
      mkdirSync(usual, { recursive: true });
      writeFileSync(join(usual, owner === undefined ? 'thesis.txt' : 'work.json'), owner ?? 'words');
      const { work } = await write(small, target);
      expect(work.path).not.toBe(usual);
      expect(readdirSync(usual)).toHaveLength(1);
    }
  });
  test('a finished bundle leaves nothing beside it', async () => {
    const target = fresh();
    await killed(target, 900);
    await writeBundle(target, { manifest: { targets: [], sequences: [{ name: 's', kinds: [] }], model: {} } as never, kernels: new Map(), weights: weights() }, small);
    expect(readdirSync(join(target, '..'))).toEqual(['out']);
    expect(readdirSync(target).filter((f) => f.includes('done') || f.startsWith('work'))).toEqual([]);
    expect(existsSync(join(target, 'bundle.json'))).toBe(true);
  });
});
