import type { JsonObject } from 'eemllm';
import { UserError } from 'eemllm';
import * as v from 'valibot';

/** A size or a count: a whole number of at least 1. */
export const size = v.pipe(v.number(), v.integer(), v.minValue(1));
/** A number greater than 0. */
export const positive = v.pipe(v.number(), v.gtValue(0));
/** Reads fields out of a config. Throws a UserError with one sentence for each field that is wrong. */
export function readFields<S extends v.BaseSchema<unknown, unknown, v.BaseIssue<unknown>>>(schema: S, json: unknown, where: string): v.InferOutput<S> {
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  throw new UserError(result.issues.map((issue) => {
    const field = v.getDotPath(issue);
    return `${field ? `'${field}' of ${where}` : where} ${issue.received === 'undefined' ? 'is missing' : `is ${issue.received}`}; expected ${expectation(issue)}.`;
  }).join(' '));
}
const expectation = (issue: v.BaseIssue<unknown>): string => {
  switch (issue.type) {
    case 'integer': return 'a whole number';
    case 'min_value': return `at least ${String(issue.requirement)}`;
    case 'gt_value': return `a number greater than ${String(issue.requirement)}`;
    case 'number': return 'a number';
    case 'boolean': return 'true or false';
    case 'string': return 'text';
    default: return issue.expected === 'Object' ? 'an object' : issue.expected ?? issue.message;
  }
};

/** An object of a config, or a UserError. */
export function object(json: unknown, where: string): JsonObject {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new UserError(`${where} is ${json === undefined ? 'missing' : JSON.stringify(json)}; expected an object.`);
  return json as JsonObject;
}

/** The parts of a whole that is shared out evenly, or a UserError that names both fields. */
export function share(whole: number, among: number, names: readonly [string, string], where: string): number {
  if (whole % among !== 0) throw new UserError(`In ${where}, ${names[0]} (${whole}) is not divisible by ${names[1]} (${among}). One of the two is wrong.`);
  return whole / among;
}
