/** The command line in this process, and what a refusal looks like. */
import { expect, vi } from 'vitest';
import { main } from '../../compiler/cli/main.ts';

export interface Told { readonly code: number; readonly error: string; readonly output: string }
/** Runs a command and catches what it writes. */
export async function run(...args: string[]): Promise<Told> {
  const written = { error: '', output: '' };
  const capture = (to: 'error' | 'output') => ((text: string | Uint8Array) => { written[to] += String(text); return true; }) as never;
  const spies = [vi.spyOn(process.stderr, 'write').mockImplementation(capture('error')), vi.spyOn(process.stdout, 'write').mockImplementation(capture('output'))];
  process.exitCode = undefined;
  try {
    return { code: await main(args), ...written };
  } finally {
    process.exitCode = undefined;
    spies.forEach((s) => s.mockRestore());
  }
}

/** What every refusal looks like: exit code 1, one message of full sentences, no stack. */
export function expectSentence(error: string): void {
  const message = error.replace(/^error: /, '').trimEnd();
  expect(message).toMatch(/^\S.*\.(\n\n {2,}\d* *\|.*)?$/s);
  expect(message).not.toMatch(/\n {4}at |internal error|undefined|\[object|NaN bytes/);
}
