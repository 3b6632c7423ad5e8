/** Published totals, walked off the graphs of the published models. */
import { describe, expect, test } from 'vitest';
import { stateBytes, weightCount } from '../../compiler/cost/traffic.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Graph } from '../../compiler/ir/index.ts';
import { llavaConfig } from '../../models/config/llava.ts';
import type { LlavaConfig } from '../../models/config/llava.ts';
import { eeMllmF } from '../../models/ee-mllm-f.ts';
import { EeMllm } from '../../models/ee-mllm.ts';
import { llavaOfIslands } from '../../models/image-islands.ts';
import { Llava } from '../../models/llava.ts';
import { published } from '../../models/published.ts';
import { shortV } from '../../models/shortv.ts';
import { conventionNamed, costFormula, flops } from '../../passes/flops.ts';
import { optimise, stageProgram } from '../../passes/pipeline.ts';

const config = (name: 'llava-1.5-7b' | 'llava-1.5-13b'): LlavaConfig => llavaConfig(published[name]);
const graphOf = (Model: new (cfg: LlavaConfig) => Llava, name: 'llava-1.5-7b' | 'llava-1.5-13b' = 'llava-1.5-7b'): Graph => trace(new Model(config(name))).graph;
const self = graphOf(Llava), composite = graphOf(EeMllm);
/** Traced when they are asked for; tables of tests hold their names alone. */
const models = {
  self: () => self, composite: () => composite, 'self 13B': () => graphOf(Llava, 'llava-1.5-13b'),
  'ShortV 4': () => frozen(4), 'ShortV 16': () => frozen(16), 'ShortV 28': () => frozen(28),
};
const frozen = (layers: number): Graph => graphOf(shortV(Array.from({ length: layers }, (_, i) => i)));

describe('dense: EE-MLLM (arXiv 2408.11795), decoder of LLaVA-1.5 7B', () => {
  test.each([
    ['self', 4900, 0, 76_053_007_564_800n], ['composite', 4900, 0, 58_203_517_747_200n],
    ['self', 576, 40, 8_177_382_850_560n], ['composite', 576, 40, 7_372_881_788_928n],
  ] as const)('%s at %s visual and %s text rows', (name, visual, text, total) => {
    const { parts, decoder } = flops(models[name](), { visual, text, convention: 'dense' });
    expect(parts.decoder).toBe(total);
    expect(decoder.visual + decoder.text + decoder.scores).toBe(total);
  });
});

describe('exact counts causal attention as causal, and only rows that are read', () => {
  const h = 4096n, m = 11008n, L = 32n, V = 576n, T = 40n, S = V + T;
  test('self', () => {
    const layers = L * S * (4n * h + 3n * m) * h - (S - 1n) * (2n * h + 3n * m) * h; // the last layer: keys and values of all, the rest of one
    const scores = 2n * h * ((L - 1n) * (S * (S + 1n)) / 2n + S);
    expect(flops(self, { visual: 576, text: 40 }).parts.decoder).toBe(2n * (layers + scores));
  });
  test('composite', () => {
    const visual = (L - 1n) * V * (3n * h + 3n * m) * h + V * 2n * h * h;
    const text = (L - 1n) * T * (4n * h + 3n * m) * h + T * 2n * h * h + (2n * h + 3n * m) * h;
    const scores = 2n * h * ((L - 1n) * (T * V + (T * (T + 1n)) / 2n) + S);
    expect(flops(composite, { visual: 576, text: 40 }).decoder).toEqual({ visual: 2n * visual, text: 2n * text, scores: 2n * scores });
  });
  test('a mask that only counting settles: images that read themselves alone, and a window of text', () => {
    const islands = graphOf(llavaOfIslands(16)), { decoder } = flops(islands, { visual: 576, text: 40, images: 4 });
    const text = T * V + (16n * 17n) / 2n + (T - 16n) * 16n;
    expect(decoder.scores).toBe(2n * 2n * h * ((L - 1n) * (4n * 144n * 144n + text) + V + 16n));
  });
  test('towers and images: every image passes the tower', () => {
    const one = flops(self, { visual: 576, text: 40 }).parts, three = flops(self, { visual: 3 * 576, text: 40, images: 3 }).parts;
    expect(three.vision).toBe(3n * one.vision);
    expect(three.projector).toBe(3n * one.projector);
  });
  test('tiles: one image in five pictures passes the tower five times', () => {
    const one = flops(self, { visual: 576, text: 40 }).parts, five = flops(self, { visual: 5 * 576, text: 40, tiles: 5 }).parts;
    expect(five.vision).toBe(5n * one.vision);
    expect(flops(self, { visual: 576, text: 40, images: 1, tiles: 5 }).parts.decoder).toBe(one.decoder);
  });
});

describe('published numbers, each in its own convention', () => {
  const tera = (g: Graph, convention: string, visual: number, text: number): number => Number(flops(g, { visual, text, convention }).total) / 1e12;
  test.each([
    ['llm-viewer', 'self', 660, 40, 9.3276], ['llm-viewer', 'self', 30, 40, 0.90953], ['llm-viewer', 'self 13B', 660, 40, 18.171], ['llm-viewer', 'self 13B', 576, 40, 15.948],
    ['fastv', 'self 13B', 576, 36, 0.15464], ['pdrop', 'self', 576, 0, 3.8172],
    ['shortv', 'self', 576, 64, 8.504], ['shortv', 'ShortV 4', 576, 64, 7.702], ['shortv', 'ShortV 16', 576, 64, 5.2957], ['shortv', 'ShortV 28', 576, 64, 2.8894],
    ['calflops-linear', 'self', 576, 42.8, 8.5503], ['causal-half', 'self 13B', 576, 0, 15.359],
  ] as const)('%s of %s at %s visual and %s text rows', (convention, name, visual, text, want) => {
    // calflops was run on prompts of 42.8 text rows on average.
    const g = models[name]();
    const [low, high] = [Math.floor(text), Math.ceil(text)].map((t) => tera(g, convention, visual, t)) as [number, number];
    expect((low + (high - low) * (text - Math.floor(text))) / want).toBeCloseTo(1, 4);
  });
  test('the tower alone, as a tool sees it that counts what runs', () => {
    const { parts } = flops(self, { visual: 576, text: 0, convention: 'calflops-linear' });
    expect(Number(parts.vision) / 1e12).toBeCloseTo(0.34919, 5);
    expect(Number(parts.projector) / 1e12).toBeCloseTo(0.024159, 6);
  });
});

test('an unknown convention is an error that names the nearest', () => {
  expect(() => conventionNamed('dens')).toThrow("There is no counting convention 'dens'. Did you mean 'dense'?");
});

test('EE-MLLM-F lies between its two masks, and a sweep evaluates formulas', () => {
  const graphs = [self, graphOf(eeMllmF([0, 1, 2, 3])), composite].map((g) => costFormula(g, conventionNamed('exact')));
  const totals = graphs.map((f) => f.at({ dims: { V: 2880, T: 100 } }).total);
  expect(totals[0]! > totals[1]! && totals[1]! > totals[2]!).toBe(true);
});

test('the definition\'s weights are the published parameters', () => {
  expect(weightCount(self)).toBe(7_062_902_784n);
});

test('KV cache and visual memory in bytes (f32) come from the states that staging derived', () => {
  const program = stageProgram(optimise(composite)), { media, text } = stateBytes(program.graphs.values());
  const perRow = 2 * 4096 * 32 * 4;
  expect(media.toString()).toBe(`${perRow}*CV`);
  expect(text.toString()).toBe(`${perRow}*CT`);
});
