/** The two programs that the demo puts side by side: one checkpoint, compiled with two masks. */
import { accessSync, constants, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Cost } from '../../cost/formula.ts';
import { traffic } from '../../cost/traffic.ts';
import { trace } from '../../frontend/trace.ts';
import { flops } from '../../../passes/flops.ts';
import type { Compiled } from '../../compile.ts';
import { compileModel } from '../compile.ts';
import type { ModelSource } from '../model.ts';

export const masks = ['self', 'composite'] as const;
export type Mask = (typeof masks)[number];

export const repository = fileURLToPath(new URL('../../..', import.meta.url));
export const shapes = join(repository, 'examples/shapes');

export interface Built {
  readonly mask: Mask;
  readonly folder: string;
  readonly compiled: Compiled;
  /** Milliseconds. */
  readonly took: number;
}

/** `.cache/demo` of the repository, or a temporary folder where that cannot be written. */
export function cacheFolder(): string {
  const folder = join(repository, '.cache/demo');
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
    return folder;
  } catch {
    return mkdtempSync(join(tmpdir(), 'eemllm-demo-'));
  }
}

export async function build(source: ModelSource, mask: Mask, cache: string): Promise<Built> {
  const start = performance.now(), folder = join(cache, mask);
  mkdirSync(dirname(folder), { recursive: true });
  const { compiled } = await compileModel(source, { mask, dtype: 'f32', maxVisual: 2048, maxText: 1024, output: folder });
  return { mask, folder, compiled, took: performance.now() - start };
}

/** FLOPs of a prompt by part, convention `exact`. */
export const costOf = (source: ModelSource, mask: Mask, visual: number, text: number): Cost<bigint> =>
  flops(trace(source.create(mask), { name: source.name }).graph, { visual, text });

/** Bytes that the fused kernels read and write for a prompt with a new picture, weights included. */
export function bytesOf({ compiled: { entries } }: Built, visual: number, text: number): number {
  const dims = { V: visual, T: text, CV: visual, CT: text, tiles: 1 };
  return (entries.first ? [entries.first] : [entries.vision, entries.prefill]).reduce((sum, g) => {
    if (!g) return sum;
    const { weights, read, written } = traffic(g);
    return sum + [weights, read, written].reduce((s, p) => s + Number(p.evaluate(dims)), 0);
  }, 0);
}
