/** How a schedule is chosen: by a table's exact shape, then by its nearest, then by the default of the device's class. */
import type { DeviceFacts } from './device-facts.ts';
import type { ScheduleTable, TableEntry } from './table.ts';
import type { FamilyName, Schedule, Wanted } from './wanted.ts';
import { distanceOf, kernelFamilies, scheduleText, wantedText } from './wanted.ts';

/** A schedule, and why this one. `distance` is in doublings (`distanceOf`); `from` is the work that was measured. */
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

/** Chooses by measurements. A schedule that is not in the legal space of what is wanted is passed over, whoever recommends it. */
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
        .map((entry) => ({ entry, distance: distanceOf(wanted.sizes, entry.sizes) }))
        .filter(({ distance }) => distance <= farthest)
        .sort((a, b) => a.distance - b.distance);
      for (const { entry, distance } of near) {
        const schedule = legal(wanted, facts).get(scheduleText(entry.schedule));
        if (schedule) return { schedule, by: distance ? 'nearest' : 'exact', distance, from: wantedText(entry) };
      }
      return usualChooser.choose(wanted, facts);
    },
  };
}
