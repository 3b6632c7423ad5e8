/** Memory of a conversation, from the compiler's own plan. */
import { describe, expect, test } from 'vitest';
import { conventions } from '../../compiler/cost/conventions.ts';
import { memoryNeed } from '../../compiler/cost/memory.ts';
import { compiled, uniform } from '../../compiler/cost/storage.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { openModel } from '../../compiler/load-model.ts';
import { planMemory } from '../../compiler/schedule/memory.ts';
import { compiledProgram, countedProgram, fuseProgram } from '../../passes/cost-program.ts';

const exact = conventions['exact']!;
const programOf = async (model: string, variant: string) => fuseProgram(countedProgram(trace((await openModel(model)).create(variant)).graph, exact));

describe('LLaVA-1.5 7B', async () => {
  const self = await programOf('llava-1.5-7b', 'self'), composite = await programOf('llava-1.5-7b', 'composite');
  const sizes = { dims: { V: 576, T: 64 }, generate: 100 }, perRow = 2n * 4096n * 32n;
  test('the KV cache is 524,288 bytes a row in 16 bits', () => {
    const { kvCache, visualMemory } = memoryNeed(self, sizes, uniform(16));
    // Of layer 0, keys and values of visual rows are known with the image, and so are their queries and the residual.
    expect(kvCache).toBe(2n * (perRow * 740n - 576n * 2n * 4096n));
    expect(visualMemory).toBe(2n * 576n * 4n * 4096n);
  });
  test('under composite attention keys and values of the image are a visual memory, whatever is asked about it', () => {
    const { kvCache, visualMemory } = memoryNeed(composite, sizes, compiled.f16);
    expect([kvCache, visualMemory]).toEqual([4n * perRow * 164n, 4n * perRow * 576n]);
  });
  test('weights are those that are read, each once: no last layer of the tower', () => {
    const layer = 12_596_224n, unread = layer + 2n * 1024n;
    expect(memoryNeed(self, sizes, uniform(16)).weights).toBe(2n * (7_062_902_784n - unread));
    expect(memoryNeed(composite, sizes, uniform(16)).weights).toBe(2n * (7_062_902_784n - unread));
  });
  test('the arena is the plan\'s, and the peak is all of it together', () => {
    const need = memoryNeed(self, sizes, compiled.f16), prefill = need.entries.find((e) => e.entry === 'prefill')!;
    expect(prefill.arena).toBe(planMemory(self.graphs.get('prefill')!, { V: 576, T: 64, CV: 576, CT: 64 }).bytes);
    expect(need.arena).toBe(Math.max(...need.entries.map((e) => e.arena)));
    expect(need.peak).toBe(need.weights + need.kvCache + need.visualMemory + BigInt(need.arena));
  });
  test('the steps of the plan never hold more than the arena, and one of them holds most of it', () => {
    for (const { entry, arena, steps } of memoryNeed(composite, sizes, compiled.f16).entries) {
      const most = Math.max(...steps.map((s) => s.live));
      expect(most, entry).toBeLessThanOrEqual(arena);
      expect(most, entry).toBeGreaterThan(arena * 0.7);
      expect(steps.every((s) => s.live >= 0 && s.path !== undefined && s.op !== '')).toBe(true);
    }
  });
  test('several images are seen one by one, and an image of several tiles at once', () => {
    const arena = (images: number, tiles: number): number => memoryNeed(composite, { dims: { V: 2304, T: 64 }, images, tiles }).entries.find((e) => e.entry === 'vision')!.arena;
    expect(arena(4, 4)).toBe(memoryNeed(composite, sizes).entries.find((e) => e.entry === 'vision')!.arena);
    expect(arena(1, 4)).toBeGreaterThan(2 * arena(4, 4));
  });
  test('a longer answer needs a longer cache and nothing else', () => {
    const [a, b] = [0, 1000].map((generate) => memoryNeed(self, { ...sizes, generate }, compiled.f16)) as [ReturnType<typeof memoryNeed>, ReturnType<typeof memoryNeed>];
    expect(b.kvCache - a.kvCache).toBe(4n * perRow * 1000n);
    expect({ ...b, kvCache: 0n, peak: 0n }).toEqual({ ...a, kvCache: 0n, peak: 0n });
  });
});

test('a tower by itself has weights and an arena', async () => {
  const p = fuseProgram(countedProgram(trace((await openModel('clip-vit-l-14-336')).create()).graph, exact)), need = memoryNeed(p, { dims: {} }, uniform(32));
  expect([need.weights, need.kvCache, need.visualMemory]).toEqual([4n * (303_507_456n - 2n * 1024n), 0n, 0n]);
  expect(need.arena).toBeGreaterThan(4 * 577 * 1024);
});

test('a tower that sees an image as tiles runs tile by tile: its arena is that of one, the rows of all tiles are kept for the image', async () => {
  const p = compiledProgram(trace((await openModel('llava-next-7b')).create()).graph);
  const need = (tiles: number) => memoryNeed(p, { dims: { V: 576 * tiles, T: 64 }, tiles }, uniform(16)), [one, five] = [need(1), need(5)];
  expect(one.entries.map((e) => e.entry)).toEqual(['tile', 'vision', 'prefill', 'decode']);
  const arena = (n: typeof one, entry: string): number => n.entries.find((e) => e.entry === entry)!.arena;
  expect(arena(five, 'tile')).toBe(arena(one, 'tile'));
  expect(arena(five, 'prefill')).toBeGreaterThan(4 * arena(one, 'prefill'));
  expect(five.visualMemory).toBe(5n * one.visualMemory);
});
