/**
 * How much of a long step goes to the device at once, so that others get their turn: a page's own drawing, an abort. Kernels run
 * to their end, so a step is cut between dispatches, and its results cannot change.
 *
 * FLOPs are known before a dispatch runs and time only afterwards: the rate is learnt from what the device has done.
 */

/** FLOPs a millisecond that a device is believed to do before it has done any. */
const firstRate = { gpu: 1e9, software: 2e6 } as const;
/** Milliseconds of a slice by default: two are under way at a time. */
export const usualSlice = 30;

export class Pace {
  private rate: number;

  /** @param ms milliseconds that a slice should take; 0: steps are not cut */
  constructor(readonly ms: number, software: boolean) {
    this.rate = firstRate[software ? 'software' : 'gpu'];
  }

  /** FLOPs of a slice. */
  get flops(): number { return this.ms === 0 ? Infinity : this.rate * this.ms; }

  /** What a slice took. One measurement moves the rate at most fourfold: the first run of a kernel may be slow. */
  learn(flops: number, ms: number): void {
    if (flops > 0) this.rate = Math.min(Math.max(flops / Math.max(ms, 0.01), this.rate / 4), this.rate * 4);
  }
}
