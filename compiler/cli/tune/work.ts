/** The distinct pieces of work that a compiled model dispatches, each with what its kernels bind. */
import type { BufferDecl, EntryName, Target } from '../../../runtime/manifest.ts';
import type { Made } from '../../bundle/families.ts';
import type { Range } from '../../bundle/operands.ts';
import type { BuiltTarget } from '../../bundle/target.ts';
import type { Kernel } from '../../wgsl/kernel.ts';
import { wantedText } from '../../schedule/wanted.ts';

export interface Bound { readonly buffer: string; readonly decl: BufferDecl; readonly range: Range }

export interface Work {
  /** What a table calls it. */
  readonly text: string;
  readonly made: Made;
  readonly entry: EntryName;
  /** What the first such dispatch is: `q_proj+k_proj+v_proj`. */
  readonly label: string;
  /** How often it is dispatched, in all entry points together. */
  readonly times: number;
  /** By the binding's name in the kernels. */
  readonly bindings: ReadonlyMap<string, Bound>;
}

/** The work of a target, in the order in which it is met. `made`: everything whose schedule was chosen for it. */
export function collectWork({ target, plans }: BuiltTarget, made: readonly Made[]): Work[] {
  const makers = new Map<Kernel, Made>(made.flatMap((m) => m.kernels.map((k) => [k, m] as const)));
  const found = new Map<string, Work>();
  for (const [entry, { steps }] of plans) {
    let last: Made | undefined;
    for (const step of steps) {
      const maker = makers.get(step.kernel);
      // Split keys are summed by a kernel of their own: two steps, one piece of work.
      if (!maker || maker === last) continue;
      last = maker;
      const text = wantedText(maker.wanted), old = found.get(text);
      if (old) { found.set(text, { ...old, times: old.times + 1 }); continue; }
      const own = steps.filter((s) => maker.kernels.includes(s.kernel));
      found.set(text, { text, made: maker, entry, label: step.label, times: 1, bindings: new Map(own.flatMap((s) => s.kernel.bindings.map((b, i) => [b.name, boundOf(target, s.bind[i]!)] as const))) });
    }
  }
  return [...found.values()];
}

const boundOf = (target: Target, range: Range): Bound => ({ buffer: range.buffer, decl: target.buffers[range.buffer]!, range });
