/** Schedule tables on the command line: those of the package and those of the user. */
import { readFileSync } from 'node:fs';
import { UserError } from '../ir/errors.ts';
import { shippedTables } from '../schedule/shipped.ts';
import type { ScheduleTable } from '../schedule/table.ts';
import { readTable, sameDevice, updated } from '../schedule/table.ts';

/** @throws UserError when the file cannot be read or is no table */
export function readTableFile(file: string): ScheduleTable {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new UserError(`The schedule table ${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`, undefined, { cause });
  }
  try {
    return readTable(JSON.parse(text), file);
  } catch (cause) {
    if (cause instanceof SyntaxError) throw new UserError(`The schedule table ${file} is not JSON: ${cause.message}. eemllm tune -o ${file} writes one.`, undefined, { cause });
    throw cause;
  }
}

/** The shipped tables, and those of these files; what a user measured on the same device counts more. No table for `none`. */
export function tablesWith(files: readonly string[] = []): ScheduleTable[] {
  if (files.includes('none')) {
    if (files.length > 1) throw new UserError("--schedules none means no tables at all, so it goes with no other. Leave it out to use these files and the package's tables.");
    return [];
  }
  return files.map(readTableFile).reduce<ScheduleTable[]>((all, own) => {
    const at = all.findIndex((t) => sameDevice(t, own));
    return at < 0 ? [...all, own] : all.with(at, updated(all[at]!, own));
  }, [...shippedTables()]);
}
