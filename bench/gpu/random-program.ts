/**
 * A published model at full size with random weights, without a checkpoint: compiled without weights, whose buffers are then
 * filled on the device from one block of random numbers. Kernels take the same time for any numbers of ordinary size.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileModel } from '../../compiler/cli/compile.ts';
import type { ModelSource } from '../../compiler/cli/model.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { conventionNamed, costFormula } from '../../passes/flops.ts';
import { chooseTarget } from '../../runtime/bundle.ts';
import { toF16 } from '../../runtime/half.ts';
import { openBundleFolder } from '../../runtime/node.ts';
import { Program } from '../../runtime/program.ts';
import { Session } from '../../runtime/session.ts';
import { ropeTable } from '../../runtime/weights.ts';
import { noise } from '../../test/support/attention.ts';
import type { Loaded } from '../own/model.ts';

export interface RandomProgram extends Loaded {
  /** FLOPs of a prompt: of the graph, without what nobody reads, attention as the mask admits. */
  flops(visual: number, text: number): number;
  /** Bytes of all weight matrices but the embedding table: what every decode step reads. */
  readonly weightBytes: number;
}
export interface RandomOptions { readonly mask: string; readonly dtype: 'f32' | 'f16'; readonly maxVisual: number; readonly maxText: number }

/** Bytes of the block that is repeated. */
const blockBytes = 1 << 24;

export async function randomProgram(source: ModelSource, { mask, dtype, maxVisual, maxText }: RandomOptions, device: GPUDevice, software: boolean): Promise<RandomProgram> {
  const folder = mkdtempSync(join(tmpdir(), 'eemllm-gpu-'));
  try {
    // Without the checkpoint nothing is read.
    await compileModel({ ...source, checkpoint: undefined }, { mask, dtype, maxVisual, maxText, output: folder });
    const bundle = await openBundleFolder(folder), start = performance.now(), target = chooseTarget(bundle, new Set(device.features), software, device);
    const program = await Program.create(bundle, target, device), pipelines = performance.now() - start, filled = performance.now();
    fill(program);
    await device.queue.onSubmittedWorkDone();
    const formula = costFormula(trace(source.create(mask)).graph, conventionNamed('exact'));
    const matrices = trace(source.create(mask)).parameters.filter((p) => p.shape.length > 1 && !p.name.includes('embed_tokens')).reduce((n, p) => n + p.shape.reduce((a, b) => a * b, 1), 0);
    return {
      bundle, program, session: new Session(program, bundle.manifest), pipelines, upload: performance.now() - filled,
      flops: (visual, text) => Number(formula.at({ dims: { V: visual, T: text } }).total), weightBytes: matrices * (dtype === 'f16' ? 2 : 4),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Matrices get numbers that keep activations of ordinary size whatever the layer's width; vectors (norms' gains) get ones. */
function fill({ device, target, buffers }: Program): void {
  const random = noise(3), matrix = (scale: number, half: boolean): GPUBuffer => {
    const data = half ? Uint16Array.from({ length: blockBytes / 2 }, () => toF16(scale * random())) : Float32Array.from({ length: blockBytes / 4 }, () => scale * random());
    return made(data);
  };
  const blocks = new Map<string, GPUBuffer>(), all: GPUBuffer[] = [];
  const made = (data: Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer>): GPUBuffer => {
    const b = device.createBuffer({ size: blockBytes, usage: 0x4 /* COPY_SRC */ | 0x8 /* COPY_DST */ });
    device.queue.writeBuffer(b, 0, data);
    all.push(b);
    return b;
  };
  const block = (key: string, make: () => GPUBuffer): GPUBuffer => {
    let b = blocks.get(key);
    if (!b) blocks.set(key, (b = make()));
    return b;
  };
  const encoder = device.createCommandEncoder();
  for (const [name, decl] of Object.entries(target.buffers)) {
    const buffer = buffers.get(name)!;
    if (decl.kind === 'rope') device.queue.writeBuffer(buffer, 0, ropeTable(decl.positions, decl.frequencies));
    if (decl.kind !== 'weight') continue;
    const half = decl.format.kind === 'f16', vector = decl.bytes <= 1 << 20 && !half;
    if (decl.format.kind !== 'f16' && decl.format.kind !== 'f32') throw new Error(`Random weights are f32 or f16, and ${name} is ${decl.format.kind}.`);
    const from = vector ? block('ones', () => made(new Float32Array(blockBytes / 4).fill(1))) : block(decl.format.kind, () => matrix(0.02, half));
    for (let at = 0; at < buffer.size; at += blockBytes) encoder.copyBufferToBuffer(from, 0, buffer, at, Math.min(blockBytes, buffer.size - at));
  }
  device.queue.submit([encoder.finish()]);
  for (const b of all) b.destroy();
}
