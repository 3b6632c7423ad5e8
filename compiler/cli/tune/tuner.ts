/** Measures the schedules of a model's work on one adapter, within a budget of time, whatever single kernels do to the device. */
import type { FoundAdapter } from '../../../runtime/node-adapter.ts';
import type { OpenDevice } from '../../../runtime/device.ts';
import { reasonOf } from '../../../runtime/errors.ts';
import type { Chooser } from '../../schedule/chooser.ts';
import type { DeviceFacts } from '../../schedule/device-facts.ts';
import type { FamilyName, Schedule, Wanted } from '../../schedule/wanted.ts';
import { kernelFamilies, scheduleText } from '../../schedule/wanted.ts';
import type { Clock } from './clock.ts';
import { openClock } from './clock.ts';
import type { StepData } from './prompt.ts';
import type { Found, Trial } from './search.ts';
import { search } from './search.ts';
import type { Ready } from './stage.ts';
import { Stage, difference } from './stage.ts';
import type { Work } from './work.ts';

export interface Tuned { readonly work: Work; readonly usual: Schedule; readonly found?: Found<Schedule>; /** Why nothing was measured. */ readonly why?: string }
export interface TunerOptions {
  readonly facts: DeviceFacts;
  readonly dims: readonly string[];
  stepOf(work: Work): StepData;
  /** What earlier measurements on this device would choose: it is tried first. */
  readonly known?: Chooser;
  /** Seconds for everything. */
  readonly budget: number;
  /** Called with each piece of work as it is done. */
  readonly onTuned?: (tuned: Tuned, clock: Clock['kind']) => Promise<void>;
  /** Called often: seconds spent, and what is being tried. */
  readonly onProgress?: (seconds: number, what: string) => void;
}

/** Of the time for one piece of work, so much goes into trying schedules; the rest compares the best. */
const trying = 0.75;
/** One timed submission should take so many milliseconds, in at most so many runs: shorter ones are all overhead. */
const span = { gpu: 1, software: 8 } as const, mostRuns = 64;
/** A device may be lost to so many kernels of one piece of work. */
const mostLosses = 3;

/**
 * How far a candidate may be from the default's result, of the largest number: sums in another order, or operands that
 * the product allows to be rounded on their way.
 */
const tolerance = ({ shape }: Wanted): number => {
  const arithmetic = 'arithmetic' in shape ? shape.arithmetic : 'f32';
  return arithmetic === 'int8' ? 5e-2 : arithmetic === 'f16' ? 1e-2 : 1e-3;
};

export async function tune(adapter: FoundAdapter, works: readonly Work[], options: TunerOptions): Promise<Tuned[]> {
  const start = performance.now(), seconds = (): number => (performance.now() - start) / 1e3;
  let device = await adapter.open(), clock = openClock(device);
  const renew = async (): Promise<void> => { clock.close(); device.close(); device = await adapter.open(); clock = openClock(device); };
  try {
    // What costs most in a prompt is measured first and longest; a first look says what that is.
    const costs = new Map<Work, number | string>();
    for (const work of works) {
      options.onProgress?.(seconds(), work.text);
      try {
        costs.set(work, await costOf(device, clock, work, options));
      } catch (e) {
        costs.set(work, reasonOf(e));
        await renew();
      }
    }
    const out: Tuned[] = [], done = async (result: Omit<Tuned, 'usual'>): Promise<void> => { const t = { ...result, usual: usualOf(result.work.made.wanted, options.facts) }; out.push(t); await options.onTuned?.(t, clock.kind); };
    // Slow work needs more time for each trial, and quick work some time at all: something between equal shares and shares by cost.
    const weight = (w: Work): number => (costs.get(w) as number) ** 0.7;
    const measurable = works.filter((w) => typeof costs.get(w) === 'number').sort((a, b) => weight(b) - weight(a));
    for (const work of works) { const why = costs.get(work); if (typeof why === 'string') await done({ work, why }); }
    for (const [i, work] of measurable.entries()) {
      const left = options.budget - seconds(), share = (left * weight(work)) / measurable.slice(i).reduce((sum, w) => sum + weight(w), 0);
      if (left <= 0) { await done({ work, why: `The budget of ${options.budget} s was spent before its turn.` }); continue; }
      const began = seconds(), banned = new Map<string, string>();
      const spent = (first: boolean): boolean => seconds() - began > share * (first ? trying : 1);
      for (;;) {
        let current = '';
        try {
          const found = await searchOne(device, clock, work, options, banned, spent, (text) => { current = text; }, (what) => options.onProgress?.(seconds(), what));
          await done(found.tried || found.space < 2 ? { work, found } : { work, why: `Its share of the budget, ${share.toFixed(0)} s, was spent before one schedule could be tried.` });
          break;
        } catch (e) {
          // A kernel that takes the device with it is out; the search begins again without it.
          banned.set(current, reasonOf(e));
          await renew();
          if (current === '' || banned.size > mostLosses || spent(true)) { await done({ work, why: `The device failed: ${reasonOf(e)}` }); break; }
        }
      }
    }
    return out;
  } finally {
    clock.close();
    device.close();
  }
}

const usualOf = <F extends FamilyName>(wanted: Wanted<F>, facts: DeviceFacts): Schedule<F> => kernelFamilies[wanted.family].usual(wanted, facts);
const spaceOf = <F extends FamilyName>(wanted: Wanted<F>, facts: DeviceFacts): readonly Schedule<F>[] => kernelFamilies[wanted.family].space(wanted.shape, facts);

/** Milliseconds that the work takes in a prompt by its default schedule, all its dispatches together. */
async function costOf(device: OpenDevice, clock: Clock, work: Work, { dims, stepOf, facts }: TunerOptions): Promise<number> {
  const stage = await Stage.open(device, clock, work, dims, stepOf(work));
  try {
    const ready = await stage.prepare(work.made.again(usualOf(work.made.wanted, facts)));
    await stage.time(ready); // drivers put work off until the first run
    return work.times * (await stage.time(ready));
  } finally {
    stage.close();
  }
}

async function searchOne(device: OpenDevice, clock: Clock, work: Work, { dims, stepOf, facts, known }: TunerOptions, banned: ReadonlyMap<string, string>, spent: (trying: boolean) => boolean, onCurrent: (text: string) => void, onWhat: (what: string) => void): Promise<Found<Schedule>> {
  const { wanted } = work.made, stage = await Stage.open(device, clock, work, dims, stepOf(work));
  const texts = new WeakMap<Ready, string>();
  try {
    let right: ReadonlyMap<string, Float32Array> | undefined, times = 1;
    const trial = (schedule: Schedule): Trial<Ready> => ({
      prepare: async () => {
        const text = scheduleText(schedule);
        onCurrent(right ? text : '');
        if (banned.has(text)) return { failed: banned.get(text)! };
        let ready: Ready;
        try {
          ready = await stage.prepare(work.made.again(schedule));
        } catch (e) {
          return { failed: reasonOf(e) };
        }
        texts.set(ready, text);
        const { values } = await stage.result(ready);
        if (!right) {
          right = values;
          // Drivers put work off until the first run, so the second one says how long it takes.
          times = Math.max(1, Math.min(mostRuns, Math.round(span[facts.class] / Math.max(await stage.time(ready), 1e-3))));
          return { ready };
        }
        const far = difference(right, values), most = tolerance(wanted);
        return far <= most ? { ready } : { wrong: `its result is off by ${far.toPrecision(2)} of the largest number, where ${most} is allowed` };
      },
    });
    return await search(usualOf(wanted, facts), spaceOf(wanted, facts), {
      trial, spent, time: (ready) => { onCurrent(texts.get(ready)!); return stage.time(ready, times); },
      onTried: (n, of) => onWhat(`${work.text} (${n} of ${of})`),
    }, known ? [known.choose(wanted, facts).schedule] : []);
  } finally {
    stage.close();
  }
}
