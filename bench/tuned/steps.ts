/** Whole steps of a model by several programs of one bundle, by turns. Weights are zeros: no kernel asks what they are. */
import { stepData } from '../../compiler/cli/tune/prompt.ts';
import type { Compiled } from '../../compiler/compile.ts';
import type { Bundle } from '../../runtime/bundle.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { EntryName, Target } from '../../runtime/manifest.ts';
import { Program, newCounters } from '../../runtime/program.ts';
import { bytesSource } from '../../runtime/sources.ts';

/** A timed submission should take so many milliseconds. */
const shortest = 40;

export interface StepsInput {
  readonly bundle: Bundle;
  readonly compiled: Compiled;
  readonly opened: OpenDevice;
  readonly targets: readonly [usual: Target, tuned: Target];
  readonly prompt: { readonly visual: number; readonly text: number };
  readonly rounds: number;
}
/** Median milliseconds of one step, until the device has done it. */
export interface StepRow { readonly step: string; readonly usual: number; readonly tuned: number }

export async function wholeSteps({ bundle, compiled, opened, targets, prompt, rounds }: StepsInput): Promise<StepRow[]> {
  const text = new TextEncoder(), files = { label: bundle.label, open: (file: string) => Promise.resolve(bytesSource(text.encode(compiled.content.kernels.get(file)!), file)) };
  const programs: Program[] = [];
  try {
    for (const target of targets) programs.push(await opened.guard(Program.create({ ...bundle, files }, target, opened.device)));
    const rows: StepRow[] = [];
    /** The first decoder layer of an entry point, or all of it: by turns. */
    const compare = async (name: EntryName, layer: boolean): Promise<StepRow | undefined> => {
      const data = stepData(bundle.manifest, name, prompt), times: [number[], number[]] = [[], []];
      let repeat = 1;
      const run = async (program: Program): Promise<number | undefined> => {
        const entry = program.entries[name]!, own = entry.dispatches.flatMap((d, i) => (/(^|\.)layers\.0(\.|$)/.test(d.decl.path) ? [i] : []));
        if (layer && !own.length) return undefined;
        for (const [sequence, values] of data.rows) { const b = program.input('rows', sequence); if (b) opened.device.queue.writeBuffer(b, 0, values); }
        for (const [sequence, values] of data.spans) { const b = program.input('spans', sequence); if (b) opened.device.queue.writeBuffer(b, 0, values); }
        program.writeDims(data.dims);
        const encoder = opened.device.createCommandEncoder();
        for (let i = 0; i < repeat; i++) entry.encode(encoder, data.dims, newCounters(), layer ? { from: own[0]!, to: own.at(-1)! + 1 } : {});
        const commands = encoder.finish(), start = performance.now();
        opened.device.queue.submit([commands]);
        await opened.guard(opened.device.queue.onSubmittedWorkDone());
        return (performance.now() - start) / repeat;
      };
      for (let r = 0; r <= rounds; r++) for (const [i, program] of programs.entries()) {
        const ms = await run(program);
        if (ms === undefined) return undefined;
        if (r) times[i as 0 | 1].push(ms);
        // The first run holds what drivers put off; a step that is short runs often enough that the host's clock can tell.
        else repeat = i ? Math.max(1, Math.min(64, Math.round(shortest / ms))) : 1;
      }
      const [usual, tuned] = times.map((t) => [...t].sort((a, b) => a - b)[t.length >> 1]!) as [number, number];
      return { step: layer ? `${name}, one layer` : `${name}, all of it`, usual, tuned };
    };
    for (const name of Object.keys(targets[0].entries) as EntryName[]) for (const layer of [true, false]) {
      const row = await compare(name, layer);
      if (row) rows.push(row);
    }
    return rows;
  } finally {
    for (const p of programs) p.destroy();
  }
}
