/** The model definitions with the fixtures' small configs, staged and run step by step beside themselves. */
import { readFileSync } from 'node:fs';
import { inLayers } from 'eemllm';
import { allRows, visualShare } from 'eemllm/models';
import { describe, expect, test } from 'vitest';
import { trace } from '../../compiler/frontend/trace.ts';
import type { Segment } from '../../compiler/ir/index.ts';
import { llavaConfig } from '../../models/config/llava.ts';
import { eeMllmF } from '../../models/ee-mllm-f.ts';
import { EeMllm } from '../../models/ee-mllm.ts';
import { llavaOfIslands } from '../../models/image-islands.ts';
import { Llava } from '../../models/llava.ts';
import { shortV } from '../../models/shortv.ts';
import { fuse } from '../../passes/fuse.ts';
import { firstStep, optimise, stageProgram } from '../../passes/pipeline.ts';
import { caseOf } from '../support/golden.ts';
import { StagedRun } from '../support/run-program.ts';

/** VTW (arXiv 2405.05803). */
class Withdrawn extends Llava { override keep = inLayers([1], visualShare(0), allRows); }
class CompositeWithdrawn extends EeMllm { override keep = inLayers([2], visualShare(0), allRows); }
const variants = {
  self: Llava, composite: EeMllm, 'composite in some layers': eeMllmF([0]), 'frozen in some layers': shortV([1]), islands: llavaOfIslands(3),
  'visual rows leave': Withdrawn, 'composite, and visual rows leave': CompositeWithdrawn,
};

describe.each(['llava-clip-llama-a', 'llava-siglip-qwen2-a'])('%s', (folder) => {
  const config = llavaConfig(JSON.parse(readFileSync(new URL(`../fixtures/${folder}/config.json`, import.meta.url), 'utf8')));
  test.each(Object.keys(variants) as (keyof typeof variants)[])('%s: two images, two turns, decoding', (name) => {
    const g = trace(new variants[name](config)).graph, whole = optimise(g), program = stageProgram(whole);
    const patches = [...g.sequences.values()].find((s) => s.kinds.some((k) => k.name === 'patch'))!, rows = patches.kinds.find((k) => k.name === 'patch')!.count.at({});
    const towers = { pictures: [{ kind: 'tile', length: 1 }], [patches.name]: patches.kinds.map((k) => ({ kind: k.name, length: k.count.at({}) })) };
    const prompt: Segment[] = [{ kind: 'text', length: 2 }, { kind: 'visual', image: 0, length: rows }, { kind: 'text', length: 3 }, { kind: 'visual', image: 1, length: rows }, { kind: 'text', length: 4 }];
    // Smaller weights than a random matrix has, so that what is compared is not rounding of saturated attention.
    const c = caseOf(g, prompt, towers), weights = new Map([...c.weights].map(([n, w]) => [n, w.map((x) => x * 0.15)] as const));
    const scaled = { ...c, weights }, run = new StagedRun(g, program, scaled);
    run.say(scaled, [rows + 5, 2 * rows + 7]);
    expect(run.worst).toBeLessThan(1e-4);
    // Where rows of an image go through layers without waiting for the prompt, they can do so together with the text's.
    const first = firstStep(whole, program);
    expect(!!first).toBe(['composite', 'islands'].includes(name)); // in the others few weights or none
    if (first) {
      const joint = new StagedRun(g, program, scaled, first);
      joint.say(scaled, [rows + 5, 2 * rows + 7]);
      expect(joint.worst).toBeLessThan(1e-4);
      const products = (entry: typeof first): number => fuse.run(entry).nodes.filter((n) => n.attrs['family'] === 'matmul').length;
      expect(products(first)).toBeLessThan(products(program.graphs.get('vision')!) + products(program.graphs.get('prefill')!));
    }
    const prefill = program.graphs.get('prefill')!, visual = prefill.nodes.filter((n) => n.type.rows!.kinds.includes('visual') && !n.type.rows!.context);
    if (name === 'composite' || name === 'islands' || name === 'composite, and visual rows leave') expect(visual).toEqual([]);
    // After the layer at which they leave nothing is held of them either.
    const held = [...prefill.states].filter(([, s]) => s.type.rows!.kinds.includes('visual')).map(([state]) => /layers\.(\d+)/.exec(state)?.[1]);
    if (name.endsWith('visual rows leave')) expect(new Set(held)).toEqual(new Set(name.startsWith('composite') ? ['0', '1'] : ['0']));
  });
});
