/** How a schedule is chosen: by a table's exact shape, then by its nearest, then by the default of the device's class. */
import { stepsApart } from './apart.ts';
import type { DeviceFacts } from './device-facts.ts';
import type { ScheduleTable, TableEntry } from './table.ts';
import type { FamilyName, Schedule, Wanted } from './wanted.ts';
import { distanceOf, kernelFamilies, scheduleText, wantedText } from './wanted.ts';

/**
 * A schedule, and why this one. `distance` is in doublings (`distanceOf`), and a schedule that had to be changed to be legal is
 * further away by the steps of that (`stepsApart`); `from` is the work that was measured.
 */
export interface Choice<F extends FamilyName> {
  readonly schedule: Schedule<F>;
  readonly by: 'exact' | 'nearest' | 'default';
  readonly distance?: number;
  readonly from?: string;
}
/** Chooses among schedules that are legal for what is wanted on a device with these facts, and among no others. */
export interface Chooser {
  choose<F extends FamilyName>(wanted: Wanted<F>, facts: DeviceFacts): Choice<F>;
}

/** Nobody has measured. */
export const usualChooser: Chooser = {
  choose: (wanted, facts) => ({ schedule: kernelFamilies[wanted.family].usual(wanted, facts), by: 'default' }),
};

/**
 * Work that lies further away is not asked, in doublings: at 3 a matrix of eight times the rows still answers for one, or
 * one of four times the rows and a quarter of the columns. Beyond, the class's default is the better guess.
 */
export const farthest = 3;

/**
 * Chooses by measurements. A schedule outside the legal space of what is wanted is never taken, whoever recommends it: the
 * legal one that lies nearest to it stands for it (heads that cannot be merged here, a tile too large for this head), and
 * counts as that much further away.
 */
export function tableChooser(table: ScheduleTable): Chooser {
  const groups = new Map<string, TableEntry[]>(), spaces = new WeakMap<DeviceFacts, Map<string, ReadonlyMap<string, Schedule>>>();
  for (const e of table.entries) {
    const key = `${e.family} ${e.form}`;
    groups.set(key, [...(groups.get(key) ?? []), e]);
  }
  const legal = <F extends FamilyName>(wanted: Wanted<F>, facts: DeviceFacts): ReadonlyMap<string, Schedule<F>> => {
    const known = spaces.get(facts) ?? new Map<string, ReadonlyMap<string, Schedule>>(), key = JSON.stringify([wanted.family, wanted.shape, wanted.sizes]);
    spaces.set(facts, known);
    const old = known.get(key);
    if (old) return old as ReadonlyMap<string, Schedule<F>>;
    const family = kernelFamilies[wanted.family];
    const space = new Map([family.usual(wanted, facts), ...family.space(wanted.shape, facts)].map((s) => [scheduleText(s), s as Schedule<F>]));
    known.set(key, space);
    return space;
  };
  return {
    choose: <F extends FamilyName>(wanted: Wanted<F>, facts: DeviceFacts): Choice<F> => {
      const near = (groups.get(`${wanted.family} ${wanted.form}`) ?? [])
        .map((entry) => ({ entry, sizes: distanceOf(wanted.sizes, entry.sizes) }))
        .filter(({ sizes }) => sizes <= farthest)
        .map(({ entry, sizes }) => { const { schedule, steps } = nearestIn(legal(wanted, facts), entry.schedule); return { entry, schedule, distance: sizes + steps }; })
        .filter(({ distance }) => distance <= farthest)
        .sort((a, b) => a.distance - b.distance);
      const [best] = near;
      return best ? { schedule: best.schedule, by: best.distance ? 'nearest' : 'exact', distance: best.distance, from: wantedText(best.entry) } : usualChooser.choose(wanted, facts);
    },
  };
}

/** The schedule of a space that lies fewest steps from another; infinitely many where no form is its own. */
function nearestIn<S>(space: ReadonlyMap<string, S>, to: unknown): { readonly schedule: S; readonly steps: number } {
  const same = space.get(scheduleText(to));
  if (same) return { schedule: same, steps: 0 };
  return [...space.values()].map((schedule) => ({ schedule, steps: stepsApart(schedule, to) })).reduce((a, b) => (b.steps < a.steps ? b : a));
}
