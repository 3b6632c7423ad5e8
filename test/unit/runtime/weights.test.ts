/** Loading weights onto a device: in order, checked, with few pieces in flight, and telling how far it is. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { Bundle } from '../../../runtime/bundle.ts';
import { checkBindingLimit } from '../../../runtime/binding-limit.ts';
import type { Target } from '../../../runtime/manifest.ts';
import type { Program } from '../../../runtime/program.ts';
import type { UploadProgress } from '../../../runtime/weights.ts';
import { uploadWeights } from '../../../runtime/weights.ts';

/** A safetensors file of one U8 tensor. */
function shard(name: string, data: Uint8Array): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify({ [name]: { dtype: 'U8', shape: [data.length], data_offsets: [0, data.length] } }).padEnd(120));
  const file = new Uint8Array(8 + json.length + data.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  file.set(data, 8 + json.length);
  return file;
}

/** A bundle of two shards in memory, and a program whose device notes what it is given and is done when told to. */
function setup(pieceBytes = 100) {
  const tensors = ['a', 'b'].map((name, i) => ({ name, data: Uint8Array.from({ length: 1000 + i }, (_, k) => (k * 13 + i) % 251) }));
  const files = new Map(tensors.map((t) => [`${t.name}.safetensors`, shard(t.name, t.data)])), held = new Map(tensors.map((t) => [t.name, new Uint8Array(1004)]));
  const weights = [...files].map(([file, bytes]) => ({ file, bytes: bytes.length, pieceBytes, pieces: Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, i) => createHash('sha256').update(bytes.subarray(i * pieceBytes, (i + 1) * pieceBytes)).digest('hex')) }));
  let reading = 0, mostReading = 0, closed = 0;
  const bundle = { label: 'it', manifest: { weights }, files: { label: 'it', open: async (file: string) => ({
    label: `it/${file}`, size: files.get(file)!.length, close: async () => { closed++; },
    read: async (offset: number, length: number) => { mostReading = Math.max(mostReading, ++reading); await new Promise(setImmediate); reading--; return files.get(file)!.subarray(offset, offset + length); },
  }) } } as unknown as Bundle;
  const busy: (() => void)[] = [];
  let mostBusy = 0, instant = true;
  const queue = {
    writeBuffer: (buffer: string, offset: number, data: Uint8Array) => { held.get(buffer)!.set(data, offset); },
    onSubmittedWorkDone: () => new Promise<void>((done) => { if (instant) { done(); return; } busy.push(done); mostBusy = Math.max(mostBusy, busy.length); setTimeout(() => busy.shift()?.(), 1); }),
  };
  const buffers = Object.fromEntries(tensors.map((t) => [t.name, { kind: 'weight', bytes: t.data.length, format: { kind: 'f16' }, parts: [{ tensor: t.name, offset: 0, bytes: t.data.length }] }]));
  const program = { device: { queue }, target: { buffers }, buffer: (name: string) => name } as unknown as Program;
  return { tensors, files, held, bundle, program, slow: () => { instant = false; }, seen: () => ({ mostReading, mostBusy, closed }) };
}

describe('an upload', () => {
  test('brings every byte, tells how far it is, and closes its files', async () => {
    const s = setup(), told: UploadProgress[] = [];
    await uploadWeights(s.bundle, s.program, (p) => told.push(p));
    for (const t of s.tensors) expect(s.held.get(t.name)!.subarray(0, t.data.length)).toEqual(t.data);
    const total = [...s.files.values()].reduce((n, f) => n + f.length, 0);
    expect(told.map((p) => p.bytes)).toEqual([...told.map((p) => p.bytes)].sort((a, b) => a - b));
    expect(told.at(-1)).toEqual({ bytes: total, total, secondsLeft: 0 });
    expect(told.every((p) => p.secondsLeft! >= 0)).toBe(true);
    expect(s.seen().closed).toBe(2);
  });
  test('reads ahead, and waits for a device that is slow', async () => {
    const s = setup();
    s.slow();
    await uploadWeights(s.bundle, s.program);
    const { mostReading, mostBusy } = s.seen();
    expect(mostReading).toBeGreaterThan(1);
    expect(mostReading).toBeLessThanOrEqual(4);
    expect(mostBusy).toBeLessThanOrEqual(3);
  });
  test('stops at the piece that was changed, and closes its files', async () => {
    const s = setup();
    s.files.get('b.safetensors')![500]! ^= 1;
    await expect(uploadWeights(s.bundle, s.program)).rejects.toMatchObject({ code: 'bundle', message: expect.stringMatching(/^it\/b\.safetensors is not the file that the bundle was made with: the SHA-256 of bytes 500 to 600 differs/) });
    expect(s.seen().closed).toBe(2);
  });
  test('is refused when the plan needs another tensor', async () => {
    const s = setup(), { buffers } = s.program.target as unknown as { buffers: Record<string, { parts: { tensor: string; bytes: number }[] }> };
    buffers['a']!.parts[0]!.bytes = 999;
    await expect(uploadWeights(s.bundle, s.program)).rejects.toThrow("Tensor 'a' of it has 1000 bytes, the plan needs 999. Compile the bundle anew.");
    buffers['a']!.parts[0]!.tensor = 'c';
    await expect(uploadWeights(s.bundle, s.program)).rejects.toThrow("Tensor 'c' of it is in none of its weight files. Compile the bundle anew.");
  });
});

test('a device that binds too little is told in a sentence, with the flag that helps', () => {
  const target = (kind: string) => ({ buffers: { big: { kind } }, entries: { prefill: { dispatches: [{ bind: [{ buffer: 'big', offset: 0, bytes: 2000 }] }] } } }) as unknown as Target, device = { limits: { maxStorageBufferBindingSize: 1999 } as GPUSupportedLimits };
  expect(() => checkBindingLimit('it', target('arena'), device)).toThrow("A kernel of it reads 2000 bytes of 'big' at once, and this device lets it see 1999 at most (maxStorageBufferBindingSize). Compile for fewer rows (--max-visual, --max-text), or use another device.");
  expect(() => checkBindingLimit('it', target('weight'), device)).toThrow('Compile for devices like it (--binding-limit 1999), or use another device.');
  expect(() => checkBindingLimit('it', target('arena'), { limits: { maxStorageBufferBindingSize: 2000 } as GPUSupportedLimits })).not.toThrow();
});
