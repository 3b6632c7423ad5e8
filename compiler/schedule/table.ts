/**
 * A table of measured schedules: which adapter it was measured on, with what, and for each piece of work the quickest
 * schedule beside the default. Plain JSON; `eemllm tune` writes it (docs/tuning.md has the format).
 *
 * A table is evidence and never an order. What it says of an adapter is believed only by programs that ask the device for
 * just that; and of its schedules only those are taken that stand in the family's own legal space (chooser.ts).
 */
import * as v from 'valibot';
import { UserError } from '../ir/errors.ts';
import type { DeviceFacts, SubgroupMatrixConfig } from './device-facts.ts';
import { wantedText } from './wanted.ts';

/** Raised when an older reader would misread a table. */
export const tableVersion = 1;

const name = v.pipe(v.string('a text was expected'), v.maxLength(300, 'it is too long'));
const positive = v.pipe(v.number('a number was expected'), v.finite('a finite number was expected'), v.minValue(0, 'a number of at least 0 was expected'));
const size = v.pipe(v.number('a number was expected'), v.integer('a whole number was expected'), v.minValue(1, 'a number of at least 1 was expected'));
const scalar = v.union([v.number(), v.boolean(), v.string()], 'a number, a text, true or false was expected');

const limits = v.strictObject({ maxComputeWorkgroupStorageSize: size, maxComputeInvocationsPerWorkgroup: size, maxComputeWorkgroupSizeX: size, maxComputeWorkgroupSizeY: size });
const component = v.picklist(['f32', 'f16', 'u32', 'i32', 'u8', 'i8'] as const);

/** Who an adapter is, as `GPUAdapterInfo` says. Browsers leave `device` and `description` empty; in Node the description has the driver. */
const adapter = v.strictObject({ vendor: name, architecture: name, device: name, description: name });

const entry = v.strictObject({
  /** One of `familyNames`; entries of families that this version does not know are kept, and never asked. */
  family: name,
  form: name,
  sizes: v.record(name, size, 'an object of sizes was expected'),
  schedule: v.record(name, v.union([scalar, v.array(scalar)]), 'a schedule was expected'),
  /** Median milliseconds of this schedule, and of the class's default in the same rounds. */
  ms: positive,
  usualMs: positive,
});

const schema = v.strictObject({
  version: v.literal(tableVersion),
  adapter,
  class: v.picklist(['gpu', 'software'] as const),
  features: v.array(name),
  limits,
  subgroups: v.optional(v.strictObject({ min: size, max: size })),
  subgroupMatrix: v.optional(v.array(v.strictObject({ M: size, N: size, K: size, component, result: component }))),
  /** How it was measured: date, versions, command, clock. */
  measured: v.record(name, v.union([scalar, v.array(scalar)])),
  entries: v.array(entry),
  /** Work for which nothing was measured, and why. */
  notMeasured: v.optional(v.array(v.strictObject({ work: name, why: v.string() }))),
});

export type ScheduleTable = v.InferOutput<typeof schema>;
export type TableEntry = ScheduleTable['entries'][number];
export type AdapterKey = ScheduleTable['adapter'];

/** Reads a table from JSON. @throws UserError that names the field. */
export function readTable(json: unknown, where: string): ScheduleTable {
  const version = typeof json === 'object' && json !== null ? (json as { version?: unknown }).version : undefined;
  if (typeof version === 'number' && version > tableVersion) throw new UserError(`${where} is a schedule table of version ${version}, and version ${tableVersion} is read here. Update the package, or measure a table with \`eemllm tune\`.`);
  const result = v.safeParse(schema, json);
  if (!result.success) {
    const [issue] = result.issues, field = v.getDotPath(issue);
    const said = issue.type === 'strict_object' && issue.expected === 'never' ? 'no such field is known' : issue.received === 'undefined' ? 'it is missing' : issue.message;
    throw new UserError(`${where} is no schedule table: ${field ? `'${field}': ` : ''}${said}. \`eemllm tune\` writes such tables: measure one anew.`);
  }
  return result.output;
}

/** What the table says of its device. */
export const factsOfTable = (t: ScheduleTable): DeviceFacts => ({
  class: t.class, limits: t.limits, features: new Set(t.features),
  ...(t.subgroups ? { subgroups: t.subgroups } : {}), ...(t.subgroupMatrix ? { subgroupMatrix: t.subgroupMatrix as SubgroupMatrixConfig[] } : {}),
});

/** A short name for an adapter: `nvidia-hopper`, `google-swiftshader`. */
export const adapterName = ({ vendor, architecture, device }: AdapterKey): string =>
  [vendor, architecture].filter(Boolean).join('-').replace(/[^A-Za-z0-9]+/g, '-') || device.replace(/[^A-Za-z0-9]+/g, '-') || 'unknown';

/** True for tables of one adapter with one driver, features and limits. */
export const sameDevice = (a: ScheduleTable, b: ScheduleTable): boolean => deviceText(a) === deviceText(b);
const deviceText = (t: ScheduleTable): string => JSON.stringify([Object.entries(t.adapter).sort(), t.class, [...t.features].sort(), Object.entries(t.limits).sort(), t.subgroups, t.subgroupMatrix]);

/** The older table with what the newer measured: entries for the same work are replaced, all others stay, and so do the commands. */
export function updated(older: ScheduleTable, newer: ScheduleTable): ScheduleTable {
  const entries = new Map([...older.entries, ...newer.entries].map((e) => [wantedText(e), e]));
  const notMeasured = [...(older.notMeasured ?? []), ...(newer.notMeasured ?? [])].filter((n) => !entries.has(n.work));
  const { notMeasured: _, ...rest } = newer, commands = [...new Set([older, newer].flatMap((t) => t.measured['command'] ?? []))];
  return { ...rest, measured: { ...newer.measured, ...(commands.length ? { command: commands } : {}) }, entries: [...entries].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, e]) => e), ...(notMeasured.length ? { notMeasured: [...new Map(notMeasured.map((n) => [n.work, n])).values()] } : {}) };
}
