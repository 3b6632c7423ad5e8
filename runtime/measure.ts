/** Which of several programs is the quickest on a device: a short timing of each, before any weight is read. */
import type { Bundle } from './bundle.ts';
import type { Target } from './manifest.ts';
import { Program } from './program.ts';
import { Session } from './session.ts';

/** A prompt of so many text tokens is read, and so many tokens are answered, this often; the best time counts. */
const promptTokens = 48, answerTokens = 8, rounds = 2;

/** Milliseconds of each program for a short prompt and answer, in their order. Weights are zeros: no kernel asks what they are. */
export async function measureTargets(bundle: Bundle, targets: readonly Target[], device: GPUDevice): Promise<number[]> {
  const out: number[] = [], text = bundle.manifest.sequences[0]!.kinds.find((k) => !k.media)!;
  const prompt = Array.from({ length: Math.max(1, Math.min(promptTokens, text.capacity - answerTokens)) }, () => 0);
  for (const target of targets) {
    // One after the other: two programs at once might not fit.
    const program = await Program.create(bundle, target, device);
    try {
      let best = Infinity;
      for (let round = 0; round <= rounds; round++) {
        const session = new Session(program, bundle.manifest), start = performance.now();
        try {
          await session.prefill(prompt);
          await session.next();
          for (let i = 0; i < Math.min(answerTokens, text.capacity - prompt.length); i++) { session.decode(0); await session.next(); }
        } finally {
          session.destroy();
        }
        // Drivers put work off until the first run.
        if (round) best = Math.min(best, performance.now() - start);
      }
      out.push(best);
    } finally {
      program.destroy();
    }
  }
  return out;
}

/** The quickest of the programs; of one alone, that one, with no timing. */
export async function quickestTarget(bundle: Bundle, targets: readonly Target[], device: GPUDevice): Promise<Target> {
  if (targets.length < 2) return targets[0]!;
  const times = await measureTargets(bundle, targets, device);
  return targets[times.indexOf(Math.min(...times))]!;
}
