/** Where the time of a prompt goes: every dispatch by itself, one after another. Their sum is a little more than the prompt takes. */
import type { ImageInput } from '../../runtime/node.ts';
import type { Loaded } from './model.ts';
import { prompt } from './model.ts';

export interface Part { readonly work: string; readonly dispatches: number; readonly flops: number; readonly ms: number }

/** Times by what a dispatch computes and in which step, layers together; the quicker of two runs each. */
export async function partsOf({ session, program: { device, target } }: Loaded, image: ImageInput, text: number): Promise<Part[]> {
  const found = new Map<string, Part>();
  session.steps.instead = async (name, dims) => {
    const entry = session.steps.entry(name);
    entry.measure(dims);
    for (const d of entry.dispatches) {
      let ms = Infinity;
      for (let i = 0; i < 2; i++) {
        const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
        entry.record(pass, d);
        pass.end();
        await device.queue.onSubmittedWorkDone();
        const start = performance.now();
        device.queue.submit([encoder.finish()]);
        await device.queue.onSubmittedWorkDone();
        ms = Math.min(ms, performance.now() - start);
      }
      const work = `${name}: ${d.decl.label} (${target.kernels[d.decl.kernel]!.family})`, old = found.get(work) ?? { work, dispatches: 0, flops: 0, ms: 0 };
      found.set(work, { work, dispatches: old.dispatches + 1, flops: old.flops + d.flops(dims), ms: old.ms + ms });
    }
  };
  try {
    session.reset();
    await session.prefill(prompt(image, text));
  } finally {
    session.steps.instead = undefined;
  }
  return [...found.values()].sort((a, b) => b.ms - a.ms);
}
