/** Closed forms against a real run: what the runtime counted while it answered a question, and what `inspect` says of the plan. */
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { executedWork } from '../../compiler/bundle/executed.ts';
import type { Convention } from '../../compiler/cost/conventions.ts';
import { conventions } from '../../compiler/cost/conventions.ts';
import { sumOf } from '../../compiler/cost/grouping.ts';
import { programCost } from '../../compiler/cost/program-cost.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { openModel } from '../../compiler/load-model.ts';
import { countedProgram } from '../../passes/cost-program.ts';
import { decodeImage, findAdapter, loadModel } from '../../runtime/node.ts';
import { newCounters } from '../../runtime/program.ts';
import { BundleFolder, shapesCheckpoint } from '../support/shapes.ts';
import { shapesFolder, shapesLines } from '../support/shapes-lines.ts';

const bundles = new BundleFolder();
afterAll(() => bundles.remove());
const exact = conventions['exact']!;
/** The runtime does not look into masks: it counts every key in the cache for every query. */
const everyKey: Convention = { ...exact, pairs: 'rectangle' };

describe.each(['self', 'composite', 'shortv:layers=1-2', 'ee-mllm-f:layers=0-1', 'image-islands:window=4'])('%s', (variant) => {
  const costOf = async (convention: Convention) => programCost(countedProgram(trace((await openModel(shapesCheckpoint)).create(variant)).graph, exact), convention);

  test('counters of a run: a picture, a question, an answer of several tokens', async () => {
    const loaded = await loadModel(await bundles.shapes(variant), { adapter: { prefer: (await findAdapter()).kind as 'auto' } }), { model } = loaded;
    try {
      const line = shapesLines()[0]!, image = await model.image(await decodeImage(join(shapesFolder, line.image)), line.image);
      const asked = { messages: [{ role: 'user', content: [{ type: 'image' as const }, { type: 'text' as const, text: line.question }] }], images: [image] };
      const text = model.items(asked).filter((i) => typeof i === 'number').length;
      model.session.counters = newCounters();
      let tokens = 0;
      for await (const piece of model.generate({ ...asked, maxTokens: 6 })) if (piece.token >= 0) tokens++;
      // The last token is not read back.
      const cost = await costOf(everyKey), sizes = { dims: { V: image.rows, T: text }, generate: tokens - 1 };
      expect(tokens).toBeGreaterThan(1);
      expect(BigInt(model.session.counters.flops - model.session.counters.discarded.flops)).toBe(sumOf(cost.ops).flops.evaluate(cost.dims(sizes)));
    } finally {
      loaded.close();
    }
  });

  test('inspect counts the FLOPs of the graph as we do, and executes no fewer', async () => {
    const { openBundleFolder } = await import('../../runtime/node.ts'), { manifest } = await openBundleFolder(await bundles.shapes(variant)), cost = await costOf(exact);
    for (const { visual, text } of [{ visual: 64, text: 9 }, { visual: 128, text: 33 }]) {
      const { entries } = executedWork(manifest, manifest.targets[0]!, { visual, text }), dims = cost.dims({ dims: { V: visual, T: text }, images: visual / 64, generate: 1 });
      // What `first` does of the last image and the text is counted as what `vision` and `prefill` do.
      for (const steps of [['vision', 'first', 'prefill'], ['decode']]) {
        const counted = entries.filter((e) => steps.includes(e.name)).reduce((n, e) => n + BigInt(e.graph), 0n);
        expect(counted, `${steps.join()} at ${visual} + ${text}`).toBe(sumOf(cost.ops.filter((op) => steps.includes(op.entry))).flops.evaluate(dims));
      }
      for (const { name, graph, executed } of entries) expect(executed, name).toBeGreaterThanOrEqual(graph * 0.99);
    }
  });
});
