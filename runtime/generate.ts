/** The tokens of an answer: decode runs ahead of what is read back, and what turns out to be too far is taken back. */
import type { Work } from './counters.ts';
import { RuntimeError } from './errors.ts';
import { mostTokensUnderWay } from './readback.ts';
import type { Sampler } from './sampling.ts';
import type { Session } from './session.ts';

export interface TokenOptions {
  readonly sampler: Sampler;
  /** Most tokens, at least 1. */
  readonly most: number;
  /** Tokens that end the answer. */
  readonly stops: readonly number[];
  /** Steps that may run beyond the one whose token is awaited. */
  readonly ahead: number;
  /** Draw on the host, from logits that are read back. Such steps cannot run ahead. */
  readonly onHost: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Steps that run ahead by default: enough to hide the way of a token to the host, and few that run for nothing at an answer's
 * end. On a CPU a step for nothing costs as much as any (SwiftShader, 2 cores: 8.7 ms a token without, 5.6 with 1, 6.1 with 2).
 */
export const usualAhead = { gpu: 2, software: 1 } as const;

/** @throws RuntimeError `value` for a number of steps that a session cannot run ahead */
export function checkAhead(ahead: number): number {
  if (Number.isInteger(ahead) && ahead >= 0 && ahead < mostTokensUnderWay) return ahead;
  throw new RuntimeError('value', `ahead is ${ahead}, and a number of steps from 0 to ${mostTokensUnderWay - 1} was expected.`);
}

/** A step whose token has not been read; `work` is what it did, none for the prompt's. */
interface Step { readonly token: Promise<number>; readonly work?: Work }

/** Tokens after a prompt that has just been read (with the sampler's first draw, unless that is on the host), one a step. */
export async function* tokensOf(session: Session, { sampler, most, stops, ahead, onHost, signal }: TokenOptions): AsyncGenerator<number> {
  const chosen = (work?: Work): Step => {
    const token = onHost ? session.logits().then((l) => sampler.next(l)) : session.next();
    token.catch(() => undefined); // one that is given up may fail unseen
    return { token, ...(work ? { work } : {}) };
  };
  const steps = [chosen()];
  let last: number | undefined, begun = 1;
  try {
    for (let count = 1; ; count++) {
      while (steps.length <= (onHost ? 0 : ahead) && begun < most) {
        // With nothing under way the token is known; else the device takes it from the step before.
        steps.push(chosen(session.decode(steps.length ? undefined : last, onHost ? undefined : sampler.draw())));
        begun++;
      }
      last = await steps[0]!.token;
      steps.shift();
      if (steps.length) session.learn(last);
      yield last;
      if (count >= most || stops.includes(last) || signal?.aborted) return;
    }
  } finally {
    session.discard(steps.flatMap((s) => s.work ?? []));
  }
}
