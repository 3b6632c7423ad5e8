/** Choosing the next token from logits. */
import { RuntimeError } from './errors.ts';
import { exp, Random } from './random.ts';

export interface SamplingOptions {
  /** 0 (unless said otherwise) takes the most probable token; above, logits are divided by it before the draw. */
  readonly temperature?: number;
  /** Draw among this many most probable tokens. 0, or absent: among all. */
  readonly topK?: number;
  /** Draw among the fewest most probable tokens whose probabilities add up to this. 1, or absent: among all. */
  readonly topP?: number;
  /** An integer. Equal seeds give equal draws on every machine; absent: a seed is drawn, see `Sampler.seed`. */
  readonly seed?: number;
}

/**
 * Index of the largest logit, the first among equals.
 * @throws RuntimeError `sampling` for NaN, +infinity, or nothing to choose from
 */
export function argmax(logits: Float32Array): number {
  let best = -1;
  let value = -Infinity;
  for (let i = 0; i < logits.length; i++) {
    const x = logits[i]!;
    if (x > value) {
      value = x;
      best = i;
    } else if (x !== x) throw notANumber(i, NaN, logits.length);
  }
  if (value === Infinity) throw notANumber(best, Infinity, logits.length);
  if (best < 0) throw nothingToChoose(logits.length);
  return best;
}

const notANumber = (i: number, value: number, count: number): RuntimeError =>
  new RuntimeError('sampling', `Logit ${i} of ${count} is ${value}, and a finite number was expected. In f16 this is often an overflow: try f32; else run "eemllm verify" on the checkpoint.`);
const nothingToChoose = (count: number): RuntimeError =>
  new RuntimeError('sampling', `None of the ${count} logits is above -infinity, so no token can be chosen. The weights or a kernel are wrong: run "eemllm verify" on the checkpoint.`);

/** What a device chose of `count` logits. @throws RuntimeError `sampling` where it says that it could not, as `argmax` does */
export function chosenToken(code: number, count: number): number {
  if (code >= 0) return code;
  if (code === -1) throw nothingToChoose(count);
  const nan = code % 2 === 0;
  throw notANumber((nan ? -2 - code : -3 - code) / 2, nan ? NaN : Infinity, count);
}

/** What a device draws a token by: temperature, top-k, top-p and a random number in [0, 1). */
export type Draw = Float32Array<ArrayBuffer>;

/** Draws tokens. One sampler serves one generation: its random numbers go on from draw to draw. */
export class Sampler {
  /** The seed in use, so that a run can be repeated. */
  readonly seed: number;
  /** True when the draw is no draw: the most probable token is taken. */
  readonly greedy: boolean;
  private readonly temperature: number;
  private readonly topK: number;
  private readonly topP: number;
  private readonly random: Random;

  /** @throws RuntimeError `sampling` for an option outside its range */
  constructor(options: SamplingOptions = {}) {
    const { temperature = 0, topK = 0, topP = 1, seed } = options;
    const refuse = (name: string, value: unknown, range: string) => new RuntimeError('sampling', `${name} is ${String(value)}, and ${range} was expected.`);
    if (!(Number.isFinite(temperature) && temperature >= 0)) throw refuse('temperature', temperature, 'a number from 0 (greedy) up');
    if (!(Number.isInteger(topK) && topK >= 0)) throw refuse('topK', topK, 'an integer from 0 (no limit) up');
    if (!(topP > 0 && topP <= 1)) throw refuse('topP', topP, 'a number above 0 and up to 1 (no limit)');
    if (seed !== undefined && !Number.isSafeInteger(seed)) throw refuse('seed', seed, 'an integer');
    this.temperature = temperature;
    this.topK = topK;
    this.topP = topP;
    this.greedy = temperature === 0 || topK === 1;
    this.seed = seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!;
    this.random = new Random(this.seed);
  }

  /** The same for a device, which draws as `next` does but in f32; undefined where the likeliest token is wanted. */
  draw(): Draw | undefined {
    return this.greedy ? undefined : Float32Array.of(this.temperature, this.topK, this.topP, this.random.next());
  }

  /**
   * The next token's id, from one row of logits (vocabulary long; -infinity forbids a token). Filters apply in the
   * order of transformers: temperature, top-k, top-p. Ties fall to the smaller id.
   * @throws RuntimeError `sampling` for NaN, +infinity, or nothing to choose from
   */
  next(logits: Float32Array): number {
    const best = argmax(logits); // also refuses what cannot be drawn from
    if (this.greedy) return best;
    const weights = new Float64Array(logits.length);
    const top = logits[best]!;
    let total = 0;
    for (let i = 0; i < weights.length; i++) total += weights[i] = exp((logits[i]! - top) / this.temperature);

    if (this.topK === 0 && this.topP === 1) return this.pick(weights, undefined, total);
    const candidates = this.candidates(weights, total);
    return this.pick(weights, candidates, candidates.reduce((sum, i) => sum + weights[i]!, 0));
  }

  /** Ids that may be drawn, most probable first. */
  private candidates(weights: Float64Array, total: number): number[] {
    let ids: number[];
    if (this.topK > 0) {
      ids = largest(weights, this.topK);
      total = ids.reduce((sum, i) => sum + weights[i]!, 0);
    } else {
      // Tokens under this weight are out unseen: all of them together hold less than 1 - topP.
      const floor = ((1 - this.topP) * total) / weights.length;
      ids = [];
      for (let i = 0; i < weights.length; i++) if (weights[i]! > 0 && weights[i]! >= floor) ids.push(i);
      ids.sort((a, b) => weights[b]! - weights[a]! || a - b);
    }
    let sum = 0;
    const end = ids.findIndex((i) => (sum += weights[i]!) >= this.topP * total);
    return end < 0 ? ids : ids.slice(0, end + 1);
  }

  /** Draws among `ids` (all where undefined) in proportion to their weights, whose sum is `total`. */
  private pick(weights: Float64Array, ids: readonly number[] | undefined, total: number): number {
    let left = this.random.next() * total;
    const count = ids?.length ?? weights.length;
    let last = -1;
    for (let n = 0; n < count; n++) {
      const i = ids ? ids[n]! : n;
      if (weights[i]! === 0) continue;
      last = i;
      left -= weights[i]!;
      if (left < 0) return i;
    }
    return last; // the sum's rounding may leave a crumb
  }
}

/** Ids of the `k` largest weights above 0, largest first, ties by id. One pass: few weights get past the smallest kept. */
function largest(weights: Float64Array, k: number): number[] {
  const ids: number[] = [];
  for (let i = 0; i < weights.length; i++) {
    const w = weights[i]!;
    if (w === 0 || (ids.length === k && w <= weights[ids[k - 1]!]!)) continue;
    let low = 0;
    for (let high = ids.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (weights[ids[middle]!]! >= w) low = middle + 1;
      else high = middle;
    }
    ids.splice(low, 0, i);
    if (ids.length > k) ids.pop();
  }
  return ids;
}
