/** The tables that come with the package, each measured on one adapter (docs/tuning.md says how). */
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import type { ScheduleTable } from './table.ts';
import { readTable } from './table.ts';

const folder = fileURLToPath(new URL('tables', import.meta.url));

let known: readonly ScheduleTable[] | undefined;
/** All of them, in the order of their files' names. */
export const shippedTables = (): readonly ScheduleTable[] =>
  (known ??= readdirSync(folder).filter((f) => f.endsWith('.json')).sort().map((f) => readTable(JSON.parse(readFileSync(join(folder, f), 'utf8')), f)));
