/**
 * `npx tsx bench/compile-size.ts CHECKPOINT`: how long a checkpoint of real size takes to compile, and how much host memory, beside the
 * least that anybody who copies it must do: read every file, hash it, write it. One run, one disk, alternating rounds.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, readdirSync, rmSync, statSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Command } from 'commander';
import { counting, printJson, si, table } from '../compiler/cli/output.ts';

const cli = fileURLToPath(new URL('../bin/eemllm.js', import.meta.url));

/** Copies the weight files through SHA-256 into a folder, until the disk has them; seconds. */
async function copyThroughHash(from: string, to: string): Promise<number> {
  const start = performance.now();
  await mkdir(to, { recursive: true });
  for (const file of weightFiles(from)) {
    const hash = createHash('sha256'), path = join(to, file);
    const through = new Transform({ transform(chunk: Uint8Array, _encoding, done) { hash.update(chunk); done(null, chunk); } });
    await pipeline(createReadStream(join(from, file), { highWaterMark: 4 << 20 }), through, createWriteStream(path, { highWaterMark: 4 << 20 }));
    const handle = await open(path, 'r+');
    await handle.sync();
    await handle.close();
    hash.digest();
  }
  return (performance.now() - start) / 1000;
}
const weightFiles = (folder: string): string[] => readdirSync(folder).filter((f) => f.endsWith('.safetensors'));
const sizeOf = (folder: string): number => weightFiles(folder).reduce((n, f) => n + statSync(join(folder, f)).size, 0);

/** `eemllm compile` in a process of its own: seconds, its peak resident memory, and the bytes that it wrote. */
async function compile(from: string, to: string, flags: readonly string[]): Promise<{ seconds: number; peak: number; bytes: number }> {
  const start = performance.now(), running = promisify(execFile)(process.execPath, [cli, 'compile', from, ...flags, '-o', to], { maxBuffer: 64 << 20 });
  // The kernel keeps the peak; it is gone with the process, so it is asked for on the way.
  let peak = 0;
  const watch = setInterval(() => {
    readFile(`/proc/${running.child.pid}/status`, 'utf8').then((text) => { peak = Math.max(peak, 1024 * Number(/VmHWM:\s+(\d+)/.exec(text)?.[1] ?? 0)); }, () => undefined);
  }, 50);
  try {
    await running;
  } finally {
    clearInterval(watch);
  }
  return { seconds: (performance.now() - start) / 1000, peak, bytes: sizeOf(to) };
}

const command = new Command('compile-size').argument('<checkpoint>').option('--work <folder>', 'where copies and bundles go, and are deleted again', '/tmp/eemllm-compile-size').option('--rounds <n>', 'rounds', counting('--rounds', 1), 1).option('--json', 'print as JSON').parse();
const checkpoint = command.args[0]!, { work, rounds, json } = command.opts<{ work: string; rounds: number; json?: boolean }>();
const ways: Readonly<Record<string, readonly string[]>> = { f16: ['--dtype', 'f16'], 'int4:group=32': ['--quant', 'int4:group=32'] };
const given = sizeOf(checkpoint), rows = [];
for (let round = 0; round < rounds; round++) {
  const seconds = await copyThroughHash(checkpoint, join(work, 'copy'));
  rmSync(work, { recursive: true });
  rows.push({ what: 'copied through SHA-256', seconds, bytes: given, ratio: 1, peak: undefined });
  for (const [what, flags] of Object.entries(ways)) {
    const done = await compile(checkpoint, join(work, 'bundle'), flags);
    rmSync(work, { recursive: true });
    rows.push({ what: `compiled to ${what}`, seconds: done.seconds, bytes: done.bytes, ratio: done.seconds / seconds, peak: done.peak });
  }
}
if (json) printJson({ checkpoint, bytes: given, cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, rows });
else process.stdout.write(`${checkpoint}: ${si(given, 'B')}, on ${cpus().length} cores of ${cpus()[0]?.model}, Node ${process.version}\n${table(['', 'seconds', 'written', 'time to copying', 'peak memory'], rows.map((r) => [r.what, r.seconds.toFixed(1), si(r.bytes, 'B'), r.ratio.toFixed(2), r.peak === undefined ? '' : si(r.peak, 'B')]))}\n`);
