/** The shapes example as tests use it: its bundles, compiled once a run, and the command line in processes of its own. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { compileModel } from '../../compiler/cli/compile.ts';
import { findModel } from '../../compiler/cli/model.ts';
import type { StateFormatKind } from '../../compiler/ir/state-format.ts';
import type { QuantisedFormat } from '../../compiler/ir/weight-format.ts';
import { printWeightFormat } from '../../compiler/ir/weight-format.ts';
import { root, shapesFolder } from './shapes-lines.ts';

export const shapesCheckpoint = join(shapesFolder, 'checkpoint');

/** A folder for a test file's bundles; `remove` it afterwards. */
export class BundleFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'eemllm-bundles-'));
  private readonly made = new Map<string, Promise<string>>();

  /** The shapes bundle of a variant, compiled when first asked for. */
  shapes(variant: string, dtype: 'f32' | 'f16' = 'f32', limits = { maxVisual: 256, maxText: 256 }, quant?: QuantisedFormat, kv?: StateFormatKind): Promise<string> {
    const name = `${variant}-${dtype}-${quant ? printWeightFormat(quant) : ''}-${kv ?? ''}-${limits.maxVisual}-${limits.maxText}`.replace(/[^\w-]+/g, '_'), output = join(this.path, name);
    if (!this.made.has(name)) this.made.set(name, findModel(shapesCheckpoint).then((source) => compileModel(source, { mask: variant, dtype, ...(quant ? { quant } : {}), ...(kv ? { kv } : {}), ...limits, output })).then(() => output));
    return this.made.get(name)!;
  }
  /** A path in the folder that holds nothing yet. */
  fresh(name: string): string { return join(mkdtempSync(join(this.path, 'x-')), name); }
  folder(name: string): string { const f = this.fresh(name); mkdirSync(f); return f; }
  remove(): void { rmSync(this.path, { recursive: true, force: true }); }
}

export interface ChildResult { readonly code: number; readonly stdout: string; readonly stderr: string }
/** Runs a program to its end. */
export async function runProcess(file: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<ChildResult> {
  try {
    const { stdout, stderr } = await promisify(execFile)(file, args, { cwd: root, env: { ...process.env, ...env }, maxBuffer: 64 << 20 });
    return { code: 0, stdout, stderr };
  } catch (e) {
    const { code, stdout, stderr } = e as { code: unknown; stdout: string; stderr: string };
    if (typeof code !== 'number') throw e;
    return { code, stdout, stderr };
  }
}
/** The command line in a process of its own. */
export const cli = (args: readonly string[], env?: Readonly<Record<string, string>>): Promise<ChildResult> => runProcess(process.execPath, [join(root, 'bin/eemllm.js'), ...args], env);

export interface ShapesAnswers { readonly target: string; readonly adapter: string; readonly seconds: number; readonly answers: number[][] }
/** All answers of a bundle on one kind of adapter (answer-shapes.ts). */
export async function answerShapes(bundle: string, adapter: string, features?: 'none'): Promise<ShapesAnswers> {
  const { code, stdout, stderr } = await runProcess(process.execPath, ['--import', 'tsx', join(root, 'test/support/answer-shapes.ts'), bundle, ...(features ? [features] : [])], { EEMLLM_ADAPTER: adapter });
  if (code !== 0) throw new Error(`answer-shapes.ts ended with ${code}: ${stderr}`);
  return JSON.parse(stdout.slice(stdout.indexOf('{'))) as ShapesAnswers;
}
