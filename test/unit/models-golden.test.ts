/**
 * The definitions against PyTorch: the untouched graph of each fixture, run by the reference interpreter, gives the
 * library's own features, visual embeddings, hidden states and logits (test/fixtures/README.md).
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { trace } from '../../compiler/frontend/trace.ts';
import { interpret } from '../../compiler/ir/interpret.ts';
import type { Segment } from '../../compiler/ir/layout.ts';
import type { Node } from '../../compiler/ir/graph.ts';
import { openModel } from '../../compiler/load-model.ts';
import { Safetensors } from '../../runtime/safetensors.ts';
import { bytesSource } from '../../runtime/sources.ts';

type Numbers = Float32Array | Int32Array;
async function tensors(file: string): Promise<Map<string, Numbers>> {
  const st = await Safetensors.open(bytesSource(readFileSync(file), file)), out = new Map<string, Numbers>();
  for (const [name, { dtype }] of st.tensors) {
    const { buffer, byteOffset, byteLength } = await st.bytes(name), bytes = buffer.slice(byteOffset, byteOffset + byteLength);
    if (dtype === 'F32') out.set(name, new Float32Array(bytes));
    if (dtype === 'I32') out.set(name, new Int32Array(bytes));
  }
  return out;
}
interface Case { name: string; segments: { kind: 'text' | 'visual'; image: number; start: number; stop: number }[] }

/** max|a - ref| / max(1, max|ref|), as the fixtures' README defines it. */
const error = (a: Numbers, ref: Numbers): number => {
  expect(a.length).toBe(ref.length);
  let largest = 1, off = 0;
  a.forEach((x, i) => { off = Math.max(off, Math.abs(x - ref[i]!)); largest = Math.max(largest, Math.abs(ref[i]!)); });
  return off / largest;
};

describe.each(['llava-clip-llama-a', 'llava-siglip-qwen2-a', 'llama-gqa-odd-a'])('%s', (folder) => {
  test.each([['baseline', 'self'], ['ee_mllm', 'composite'], ['ee_mllm_f', 'ee-mllm-f:layers=1,3']])('%s', async (golden, variant) => {
    const path = `test/fixtures/${folder}`, weights = await tensors(`${path}/model.safetensors`), reference = await tensors(`${path}/golden.safetensors`);
    const { cases } = JSON.parse(readFileSync(`${path}/golden.json`, 'utf8')) as { cases: Case[] };
    const { graph, values } = trace((await openModel(path)).create(variant), { rows: 'all' });
    const decoder = values.has('language_model') ? 'language_model.model' : 'model';
    const wanted: [string, Node][] = [
      ...[...values].flatMap(([p, n]): [string, Node][] => (p.startsWith(`${decoder}.layers.`) && /\.\d+$/.test(p) ? [[`${golden}.hidden.${p.split('.').at(-1)}`, n]] : [])),
      [`${golden}.final_norm`, values.get(`${decoder}.norm`)!],
      ...(golden === 'baseline' ? [['baseline.logits', graph.outputs.get('logits')!] as [string, Node]] : []),
      ...(values.has('vision_tower') ? [['vision.features', values.get('vision_tower')!], ['projector.output', values.get('multi_modal_projector')!]] as [string, Node][] : []),
    ];
    for (const { name, segments } of cases.filter((c) => reference.has(`${c.name}.${golden}.hidden.0`))) {
      const of = (tensor: string): Numbers => reference.get(`${name}.${tensor}`) ?? new Float32Array();
      const images = [...new Set(segments.flatMap((s) => (s.kind === 'visual' ? [s.image] : [])))], visual = of('segment_ids').map((x) => (x >= 0 ? 1 : 0));
      const layout: Record<string, Segment[]> = { tokens: segments.map((s) => ({ kind: s.kind, length: s.stop - s.start, ...(s.kind === 'visual' && { image: s.image }) })) };
      for (const s of graph.sequences.values())
        if (s.name !== 'tokens') layout[s.name] = images.flatMap((image) => s.kinds.map((k) => ({ kind: k.name, length: Number(k.count.evaluate({})), image })));
      const given = { ids: of('input_ids').filter((_, i) => !visual[i]), pixels: of('pixel_values'), visual_embeds: of('visual_embeds') };
      const inputs = Object.fromEntries(Object.entries(given).filter(([n]) => graph.inputs.has(n)));
      const result = interpret({ ...graph, outputs: new Map(wanted) }, { weights, layout, inputs });
      for (const [tensor, node] of wanted) {
        const { data } = result.outputs.get(tensor)!, width = node.type.dims[0]!;
        if (!data.length) continue;
        // Graphs hold visual rows before text, the reference has the order of the prompt.
        const place = [...visual.keys()].sort((a, b) => visual[b]! - visual[a]! || a - b);
        const ordered = node.type.rows!.kinds.includes('text') ? new Float32Array(data.length) : data;
        if (ordered !== data) place.forEach((to, from) => ordered.set(data.subarray(from * width, (from + 1) * width), to * width));
        expect(error(ordered, of(tensor)), `${name}.${tensor}`).toBeLessThan(5e-6);
      }
    }
  }, 120_000);
});
