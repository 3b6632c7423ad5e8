/** A case compiled to a bundle, loaded, and run through the runtime, as a user's model would be. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeSafetensors } from '../../compiler/bundle/safetensors-writer.ts';
import { writeBundle } from '../../compiler/bundle/write.ts';
import { openCheckpoint } from '../../compiler/cli/model.ts';
import { tablesWith } from '../../compiler/cli/schedules.ts';
import { compile } from '../../compiler/compile.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { GraphBuilder } from '../../compiler/ir/builder.ts';
import type { Graph, Node } from '../../compiler/ir/graph.ts';
import { chooseTarget } from '../../runtime/bundle.ts';
import type { EntryName } from '../../runtime/manifest.ts';
import { openBundleFolder } from '../../runtime/node.ts';
import type { LoadedDispatch } from '../../runtime/entry.ts';
import { Program } from '../../runtime/program.ts';
import { regionStarts } from '../../runtime/context.ts';
import type { PromptItem } from '../../runtime/context.ts';
import { Session } from '../../runtime/session.ts';
import { uploadWeights } from '../../runtime/weights.ts';
import type { Precision } from './cases.ts';
import { directions } from './cases.ts';
import type { OwnCase } from './own-models.ts';

/** Tokens that may follow the prompt. */
const room = 256;

/** `graph` with the rows of `node` as an output of their own. */
export function withRows(graph: Graph, node: Node): Graph {
  const b = GraphBuilder.like(graph);
  for (const [map, leaves] of [[b.inputs, graph.inputs], [b.weights, graph.weights], [b.states, graph.states]] as const) for (const n of leaves.values()) b.leaf(map, n);
  b.nodes.push(...graph.nodes);
  for (const [name, n] of graph.outputs) b.output(name, n);
  b.output('result:text', node);
  return b.finish();
}

export class OwnProgram {
  private images = 0;
  private constructor(private readonly c: OwnCase, readonly program: Program, readonly session: Session) {}

  static async create(c: OwnCase, precision: Precision, device: GPUDevice, software: boolean): Promise<OwnProgram> {
    const folder = mkdtempSync(join(tmpdir(), 'eemllm-compare-'));
    try {
      writeFileSync(join(folder, 'config.json'), '{}');
      const traced = trace(c.model, { name: 'case' });
      await writeSafetensors(folder, traced.parameters.map(({ name }) => {
        const { shape, data } = c.weights.get(name)!;
        return { name, shape, dtype: 'F32' as const, data: () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
      }), { prefix: 'model' });
      const checkpoint = await openCheckpoint(folder, traced.parameters), output = join(folder, 'bundle');
      try {
        const { content } = compile(c.seen === 'output' ? withRows(traced.graph, traced.arguments.get('read')![0]!) : traced.graph, { name: 'case', type: 'custom', variant: 'own', dtype: precision, maxVisual: Math.max(1, c.visual), maxText: c.text + room, usual: { visual: c.visual, text: c.text }, tables: tablesWith(), checkpoint });
        await writeBundle(output, content);
      } finally {
        await checkpoint.files.close();
      }
      const bundle = await openBundleFolder(output);
      const program = await Program.create(bundle, chooseTarget(bundle, new Set(device.features), software, device), device);
      await uploadWeights(bundle, program);
      return new OwnProgram(c, program, new Session(program, bundle.manifest));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** Reads the prompt, its image too. */
  async prefill(): Promise<void> {
    this.session.reset();
    await this.session.prefill(this.prompt());
  }

  /** Back to the end of the prompt, however many tokens came after it. */
  async rewind(): Promise<void> { await this.session.prefill(this.prompt(false)); }

  /** Reads the token after the prompt, again and again one place later. */
  async decode(): Promise<void> { await this.session.decode(this.c.text); }

  /** The image is another one each time unless `fresh` is false, or its rows would be known already. */
  private prompt(fresh = true): PromptItem[] {
    const { c } = this, tokens = Array.from({ length: c.text }, (_, i) => i);
    if (fresh) this.images++;
    return c.visual ? [{ key: `image ${this.images}`, rows: c.visual, data: c.image }, ...tokens] : tokens;
  }

  /** All rows of the result so far, image before text; of an output, those of the step that ran last. */
  async result(): Promise<Float32Array> {
    const { program, session, c } = this, { entry, dims } = session.last!;
    if (c.seen === 'output') {
      const o = program.entries[entry]!.outputs['result:text']!;
      return this.read([{ buffer: o.buffer, offset: (o.offset + o.row(dims) * o.width * 4), bytes: o.rows(dims) * o.width * 4 }]);
    }
    const name = Object.keys(program.target.buffers).find((n) => n.startsWith('state:read') && n.endsWith('.v'))!, decl = program.target.buffers[name]!;
    if (decl.kind !== 'state' || decl.rowBytes !== directions * 4) throw new Error(`The values of the last attention are not where they were expected: ${JSON.stringify(decl)}.`);
    const starts = regionStarts(session.manifest.sequences[0]!), held = [c.visual, dims['CT']!];
    return this.read(held.map((rows, kind) => ({ buffer: program.buffer(name), offset: starts[kind]! * decl.rowBytes, bytes: rows * decl.rowBytes })));
  }

  private async read(pieces: readonly { readonly buffer: GPUBuffer; readonly offset: number; readonly bytes: number }[]): Promise<Float32Array> {
    const { device } = this.program, staging = device.createBuffer({ size: pieces.reduce((n, p) => n + p.bytes, 0), usage: 0x1 /* MAP_READ */ | 0x8 /* COPY_DST */ }), encoder = device.createCommandEncoder();
    pieces.reduce((at, p) => { encoder.copyBufferToBuffer(p.buffer, p.offset, staging, at, p.bytes); return at + p.bytes; }, 0);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(0x1);
    const out = new Float32Array(staging.getMappedRange().slice(0));
    staging.destroy();
    return out;
  }

  /** Runs the dispatches of an entry that `wanted` names so often; those before them have left their operands. */
  repeat(entry: EntryName, wanted: (family: string, path: string) => boolean): (times: number) => void {
    const { program, session } = this, { device, target } = program, loaded = program.entries[entry]!, { dims } = session.last!, { dispatches } = loaded;
    const isWanted = ({ decl }: LoadedDispatch): boolean => wanted(target.kernels[decl.kernel]!.family, decl.path), last = dispatches.reduce((at, d, i) => (isWanted(d) ? i : at), -1);
    if (last < 0) throw new Error(`The step '${entry}' has no such dispatch: ${dispatches.map(({ decl }) => `${decl.kernel} of ${decl.path}`).join('; ')}.`);
    const run = (list: readonly LoadedDispatch[]): void => {
      const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
      loaded.measure(dims);
      for (const d of list) loaded.record(pass, d);
      pass.end();
      device.queue.submit([encoder.finish()]);
    };
    run(dispatches.slice(0, last + 1));
    const own = dispatches.filter(isWanted);
    return (times) => { for (let i = 0; i < times; i++) run(own); };
  }

  destroy(): void {
    this.session.destroy();
    this.program.destroy();
  }
}
