/** What adapters this machine has, each looked at in a process of its own: a driver that crashes takes only that along. */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { AdapterPreference } from './node-adapter.ts';

/** Kinds that `probeAdapters` looks for, best first. */
export const PROBED_KINDS = ['hardware', 'lavapipe', 'swiftshader'] as const;
export type ProbedKind = (typeof PROBED_KINDS)[number];

/** An adapter that was found and put to work, or why not. */
export type Probe =
  | {
      readonly kind: AdapterPreference;
      readonly found: true;
      readonly name: string;
      readonly why: string;
      /** Features of WebGPU that the adapter has, sorted. */
      readonly features: readonly string[];
      readonly limits: Readonly<Record<string, number>>;
      /** A small kernel ran and its result was right. */
      readonly computes: boolean;
      /** From the start of the search to the kernel's result. */
      readonly milliseconds: number;
    }
  | { readonly kind: AdapterPreference; readonly found: false; readonly reason: string };

/**
 * Looks for each kind of adapter, one after the other, a child process each.
 * @param timeout milliseconds after which a child is given up
 */
export async function probeAdapters(kinds: readonly AdapterPreference[] = PROBED_KINDS, timeout = 60_000): Promise<Probe[]> {
  const probes: Probe[] = [];
  for (const kind of kinds) probes.push(await probe(kind, timeout));
  return probes;
}

function probe(kind: AdapterPreference, timeout: number): Promise<Probe> {
  // The child runs TypeScript too; its parent may have been started in any way, so tsx is named whole.
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  const script = fileURLToPath(new URL('./node-probe-child.ts', import.meta.url));
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--import', loader, script, kind], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let complaints = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => (out += piece));
    child.stderr.setEncoding('utf8').on('data', (piece: string) => (complaints = (complaints + piece).slice(-2000)));
    const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
    const done = (code: number | null, signal: string | null): void => {
      clearTimeout(timer);
      try {
        resolve(JSON.parse(out.trim().split('\n').at(-1)!) as Probe);
      } catch {
        const last = complaints.trim().split('\n').at(-1) ?? '';
        const how = signal === 'SIGKILL' ? `the driver did not answer within ${timeout / 1000} s` : `the driver ended the process (${signal ?? `exit code ${code}`})`;
        resolve({ kind, found: false, reason: last ? `${how}: ${last}` : how });
      }
    };
    child.on('error', (error) => resolve({ kind, found: false, reason: `a process to look for it could not be started (${error.message})` }));
    child.on('close', done);
  });
}
