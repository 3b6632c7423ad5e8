/** A prompt of a given size on a device, dispatch by dispatch: what each takes, and what the device could do in that time. */
import type { Bundle } from '../../../runtime/bundle.ts';
import { chooseTarget } from '../../../runtime/bundle.ts';
import type { Segment } from '../../../runtime/context.ts';
import type { OpenDevice } from '../../../runtime/device.ts';
import type { EntryName } from '../../../runtime/manifest.ts';
import { parsePolynomial } from '../../../runtime/polynomial.ts';
import { Program } from '../../../runtime/program.ts';
import { uploadWeights } from '../../../runtime/weights.ts';
import type { PromptStep } from '../../bundle/executed.ts';
import { dispatchWork, promptSteps } from '../../bundle/executed.ts';
import { fill } from '../tune/fill.ts';
import type { PromptSize } from './steps.ts';
import { checkSize, writeStep } from './steps.ts';
import { Timer } from './time.ts';

export interface ProfiledDispatch {
  readonly entry: EntryName;
  /** The linear maps that it computes (`gate_proj·up_proj`), or its op. */
  readonly label: string;
  readonly path: string;
  readonly kernel: string;
  readonly family: string;
  /** Seconds of one run: the median. */
  readonly seconds: number;
  /** FLOPs of the graph (of attention only pairs that the mask admits), and bytes that it moves at least. */
  readonly flops: number;
  readonly bytes: number;
}
export interface ProfiledEntry {
  readonly name: EntryName;
  /** How often the prompt (with its answer) runs it. */
  readonly times: number;
  /** Seconds of one run: the sum of its dispatches, and all in one pass by the host's clock. */
  readonly seconds: number;
  readonly together: number;
  readonly dispatches: readonly ProfiledDispatch[];
}
export interface Profile {
  readonly target: string;
  /** False where the host's clock had to do. */
  readonly exact: boolean;
  /** False where weights are made up. */
  readonly weights: boolean;
  readonly size: PromptSize;
  readonly repeat: number;
  readonly entries: readonly ProfiledEntry[];
}

export interface ProfileOptions extends PromptSize { readonly repeat: number; readonly software: boolean }

/** As a prompt runs them: later steps read what earlier ones left. */
const order: readonly EntryName[] = ['tile', 'vision', 'first', 'prefill', 'decode'];

/** @throws UserError, RuntimeError for sizes beyond the bundle's, and where the device fails */
export async function profile(bundle: Bundle, opened: OpenDevice, { repeat, software, ...size }: ProfileOptions): Promise<Profile> {
  const { manifest } = bundle, { device } = opened;
  checkSize(manifest, size);
  const target = chooseTarget(bundle, opened.features, software, device), weights = manifest.weights.length > 0;
  const program = await opened.guard(Program.create(bundle, target, device)), timer = new Timer(opened);
  try {
    let seed = 0;
    for (const [name, decl] of Object.entries(target.buffers)) {
      const own = decl.kind === 'input' ? ['rows', 'spans', 'dims'].includes(decl.source) : decl.kind === 'weight' ? weights : decl.kind !== 'rope';
      if (own) continue;
      fill(device, program.buffer(name), { buffer: name, decl, range: { buffer: name, offset: 0, bytes: decl.bytes, writable: false } }, [], { dims: {}, rows: new Map(), spans: new Map() }, seed++);
    }
    if (weights) await opened.guard(uploadWeights(bundle, program));
    const steps = promptSteps(manifest, target, size), work = new Map(dispatchWork(manifest, target, size).map((w) => [w.name, w]));
    const entries: ProfiledEntry[] = [];
    for (const name of order) {
      const entry = program.entries[name], { times, done } = work.get(name) ?? { times: 0, done: [] }, runs = name === 'decode' ? size.generate : times;
      if (!entry || !runs) continue;
      const media = manifest.media?.kind ?? '', seesMedia = entry.dispatches.some((d) => media in d.decl.rows), kinds = manifest.sequences[0]!.kinds;
      // A prefill that reads rows of images where they lie has none of its own.
      const step = name === 'prefill' && !seesMedia ? { ...steps.prefill, fresh: steps.prefill.fresh.filter((s) => kinds[s.kind]!.name !== media) } : steps[name];
      const at = (run: number): PromptStep => (name === 'decode' ? decodeStep(step, run) : step);
      const seen: number[][] = entry.dispatches.map(() => []), together: number[] = [];
      let dims = {};
      // The first run warms up. Decode takes the steps of the answer in turn.
      for (let run = 0; run <= Math.max(repeat, name === 'decode' ? runs : 0); run++) {
        dims = writeStep(program, manifest, at(name === 'decode' ? run % runs : 0));
        const t = await timer.time(entry, dims);
        if (run === 0) continue;
        t.dispatches.forEach((s, i) => { if (s !== undefined) seen[i]!.push(s); });
        together.push(t.together);
      }
      const dispatches = entry.dispatches.flatMap((d, i): ProfiledDispatch[] => {
        if (!seen[i]!.length) return [];
        const kernel = entry.kernelOf(d);
        return [{ entry: name, label: d.decl.label, path: d.decl.path, kernel, family: target.kernels[kernel]!.family, seconds: median(seen[i]!), flops: done[i]!.graph, bytes: parsePolynomial(d.decl.bytes ?? '0')(dims) }];
      });
      entries.push({ name, times: runs, seconds: dispatches.reduce((s, d) => s + d.seconds, 0), together: median(together), dispatches });
    }
    opened.check();
    return { target: target.name, exact: timer.exact, weights, size, repeat, entries };
  } finally {
    timer.destroy();
    program.destroy();
  }
}

/** The step `more` tokens later. */
function decodeStep({ fresh: [token], keys, times }: PromptStep, more: number): PromptStep {
  const later: Segment = { ...token!, position: token!.position + more, slot: token!.slot + more };
  const before = keys.slice(0, -1).map((s) => (s.kind === token!.kind ? { ...s, length: s.length + more } : s));
  return { fresh: [later], keys: [...before, later], times };
}

const median = (xs: readonly number[]): number => [...xs].sort((a, b) => a - b)[xs.length >> 1]!;
