import fc from 'fast-check';
import type * as FsPromises from 'node:fs/promises';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { writeFileAtomically, writeSafetensors, type TensorToWrite } from '../../../compiler/bundle/safetensors-writer.ts';
import type { WritableDtype } from '../../../compiler/bundle/shard-layout.ts';
import { fileSource } from '../../../runtime/node-files.ts';
import { DTYPE_BYTES, Safetensors } from '../../../runtime/safetensors.ts';

/** When set, files accept this many bytes and then the disk is full. */
const disk = vi.hoisted(() => ({ room: Infinity }));
vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof FsPromises>();
  const full = () => Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  const open: typeof fs.open = async (...args) => {
    const handle = await fs.open(...args);
    const { write, writeFile } = handle;
    const take = (n: number) => { if ((disk.room -= n) < 0) throw full(); };
    handle.write = (async (b: Uint8Array, ...rest: [number, number]) => { take(rest[1]); return write.call(handle, b as never, ...rest as unknown as never[]); }) as never;
    handle.writeFile = (async (b: string | Uint8Array) => { take(b.length); return writeFile.call(handle, b as never); }) as never;
    return handle;
  };
  return { ...fs, open };
});

let dir: string;
beforeEach(async () => { dir = await mkdtemp(join(tmpdir(), 'eemllm-test-')); });
afterEach(async () => { disk.room = Infinity; await rm(dir, { recursive: true }); });

const tensor = (name: string, dtype: WritableDtype, shape: number[], fill = 1): TensorToWrite => ({
  name, dtype, shape, data: () => new Uint8Array(shape.reduce((a, b) => a * b, 1) * DTYPE_BYTES[dtype]).fill(fill),
}); // prettier-ignore

describe('what is written reads back', () => {
  test('any tensors, in any number of shards, aligned', async () => {
    const tensors = fc.uniqueArray(
      fc.record({ name: fc.string({ minLength: 1, maxLength: 6, unit: 'grapheme' }).filter((n) => n !== '__metadata__'), dtype: fc.constantFrom<WritableDtype>('F32', 'F16', 'BF16', 'U8', 'I8', 'I32', 'U32'), shape: fc.array(fc.nat(4), { maxLength: 3 }), fill: fc.nat(255) }),
      { maxLength: 6, selector: (t) => t.name },
    );
    await fc.assert(
      fc.asyncProperty(tensors, fc.constantFrom(8, 64, 1 << 20), async (list, maxShardBytes) => {
        const out = await mkdtemp(join(dir, 'p'));
        const shards = await writeSafetensors(out, list.map((t) => tensor(t.name, t.dtype, t.shape, t.fill)), { maxShardBytes });
        const found = new Map<string, Uint8Array>();
        for (const shard of shards) {
          const st = await Safetensors.open(await fileSource(join(out, shard.file)));
          expect((await readFile(join(out, shard.file))).length).toBe(shard.bytes);
          expect([...st.tensors.keys()].sort()).toEqual(shard.tensors.map((t) => t.tensor.name).sort());
          for (const { tensor: t, offset, bytes: length } of shard.tensors) {
            expect(st.entry(t.name)).toMatchObject({ dtype: t.dtype, shape: t.shape, offset, bytes: length });
            expect(offset % DTYPE_BYTES[t.dtype]).toBe(0);
            const bytes = await st.bytes(t.name);
            found.set(t.name, bytes);
          }
          await st.close();
        }
        expect(found.size).toBe(list.length);
        for (const t of list) expect(found.get(t.name)!.every((b) => b === t.fill)).toBe(true);
        expect((await readdir(out)).sort()).toEqual(shards.map((s) => s.file).sort());
      }),
      { numRuns: 25 },
    );
  });

  test('streamed in pieces, twice, gives the same bytes', async () => {
    const streamed: TensorToWrite = { name: 'a', dtype: 'F16', shape: [3, 2], async *data() { yield new Uint8Array(5).fill(7); yield new Uint8Array(7).fill(7); } }; // prettier-ignore
    const [one] = await writeSafetensors(join(dir, 'x'), [tensor('b', 'U8', [3]), streamed]);
    const [two] = await writeSafetensors(join(dir, 'y/z'), [tensor('b', 'U8', [3]), tensor('a', 'F16', [3, 2], 7)]);
    const [x, y] = await Promise.all(['x', 'y/z'].map((f) => readFile(join(dir, f, 'model.safetensors'))));
    expect(x!.equals(y!)).toBe(true);
    expect(one!.header).toEqual(two!.header);
    expect(one!.tensors.map((t) => t.tensor.name)).toEqual(['a', 'b']);
    expect(one!.tensors[0]!.offset % 64).toBe(0);
  });
});

describe('what fails leaves nothing half-written', () => {
  const old = () => readFile(join(dir, 'model.safetensors'), 'utf8');
  beforeEach(() => writeFile(join(dir, 'model.safetensors'), 'old'));

  test.each([0, 100, 700])('a disk that is full after %i bytes', async (room) => {
    disk.room = room;
    const error = await writeSafetensors(dir, [tensor('a', 'F32', [100]), tensor('b', 'F32', [100])]).then(() => undefined, (e: unknown) => e as Error);
    expect(error).toMatchObject({ name: 'UserError', exitCode: 1 });
    expect(error!.message).toContain(`Could not write ${dir}: the disk is full.`);
    expect(await readdir(dir)).toEqual(['model.safetensors']);
    expect(await old()).toBe('old');
  });

  test('a disk that is full in the second shard', async () => {
    disk.room = 700;
    await expect(writeSafetensors(dir, [tensor('a', 'F32', [100]), tensor('b', 'F32', [100])], { maxShardBytes: 400 })).rejects.toThrow(/disk is full/);
    expect(await readdir(dir)).toEqual(['model.safetensors']);
  });

  test('data of another length than the shape says, or a source that fails, is our fault and no UserError', async () => {
    const wrong = (bytes: number): TensorToWrite => ({ name: 'a', dtype: 'F32', shape: [2], data: () => new Uint8Array(bytes) });
    await expect(writeSafetensors(dir, [wrong(7)])).rejects.toThrow(/8 bytes, but its data has 7/);
    await expect(writeSafetensors(dir, [wrong(9)])).rejects.toThrow(/but its data has more/);
    await expect(writeSafetensors(dir, [tensor('a', 'U8', [1]), tensor('a', 'U8', [1])])).rejects.toThrow(/two tensors/);
    await expect(writeSafetensors(dir, [{ name: 'a', dtype: 'F32', shape: [2], data: () => Promise.reject(new Error('broken source')) }])).rejects.toThrow('broken source');
    expect(await readdir(dir)).toEqual(['model.safetensors']);
    expect(await old()).toBe('old');
  });

  test('a folder that cannot be made is named', async () => {
    await expect(writeSafetensors(join(dir, 'model.safetensors', 'sub'), [])).rejects.toMatchObject({ name: 'UserError', message: expect.stringContaining('a file stands where a folder is needed') });
    if (process.platform === 'linux') await expect(writeSafetensors('/proc/nope', [])).rejects.toMatchObject({ name: 'UserError' });
  });

  test('single files too', async () => {
    await writeFileAtomically(join(dir, 'sub/b.json'), '{}');
    expect(await readFile(join(dir, 'sub/b.json'), 'utf8')).toBe('{}');
    disk.room = 1;
    await expect(writeFileAtomically(join(dir, 'sub/b.json'), '{"n": 1}')).rejects.toThrow(/disk is full/);
    expect(await readdir(join(dir, 'sub'))).toEqual(['b.json']);
    expect(await readFile(join(dir, 'sub/b.json'), 'utf8')).toBe('{}');
  });
});
