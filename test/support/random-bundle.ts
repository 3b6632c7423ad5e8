/** A random case (random-graphs.ts) as a bundle on a device, beside the interpreter of the graph as its author wrote it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Checkpoint } from '../../compiler/bundle/checkpoint.ts';
import type { DeviceClass } from '../../compiler/bundle/families.ts';
import { writeSafetensors } from '../../compiler/bundle/safetensors-writer.ts';
import { writeBundle } from '../../compiler/bundle/write.ts';
import { storedAs } from '../../compiler/bundle/quantise.ts';
import type { Compiled } from '../../compiler/compile.ts';
import { compile } from '../../compiler/compile.ts';
import type { Layout, Segment } from '../../compiler/ir/index.ts';
import { interpret } from '../../compiler/ir/index.ts';
import type { ScheduleTable } from '../../compiler/schedule/table.ts';
import type { QuantiseRules } from '../../passes/quantise.ts';
import { chooseTarget } from '../../runtime/bundle.ts';
import type { ImageInput, PromptItem } from '../../runtime/context.ts';
import { isImage } from '../../runtime/context.ts';
import { openBundleFolder } from '../../runtime/node.ts';
import { Program } from '../../runtime/program.ts';
import { Session } from '../../runtime/session.ts';
import { uploadWeights } from '../../runtime/weights.ts';
import type { Case } from './random-graphs.ts';
import { piecesOf } from './run-case.ts';
import { promptSequence } from './run-program.ts';

export interface BundleOptions {
  readonly device: DeviceClass;
  readonly dtype: 'f32' | 'f16';
  readonly quantise?: QuantiseRules;
  /** Most bytes that a kernel may bind: larger weights are split. */
  readonly bindingLimit?: number;
  /** Measured schedules; with some, the device's own adapter has a say in which target is taken. */
  readonly tables?: readonly ScheduleTable[];
  /** Features that the target may use: without `shader-f16`, f16 weights are packed. */
  readonly features: ReadonlySet<string>;
  readonly maxVisual: number;
  readonly maxText: number;
}

/** The prompt of a case as the runtime takes it. Empty runs are not there. */
export function itemsOf(c: Case): PromptItem[] {
  const media = [...c.graph.inputs].find(([, n]) => n.attrs['time'] === 'image')!, [name, node] = media;
  const width = node.type.dims.reduce((a, b) => a * b, 1), values = c.inputs[name] as Float32Array, pixels = node.type.dims.length === 3;
  let image = 0;
  return piecesOf(c.layout[promptSequence]!).filter((p) => p.length).flatMap((p): PromptItem[] => {
    if (p.image === undefined) return Array.from(c.inputs['ids']!.slice(p.from, p.from + p.length));
    const data = pixels ? values.slice(image * width, (image + 1) * width) : values.slice(p.from * width, (p.from + p.length) * width);
    image++;
    return [{ key: `image ${p.image}`, data, rows: p.length }];
  });
}

/** Logits of the prompt's last token as the definition has them. */
export function referenceLogits(c: Case, items: readonly PromptItem[], weights = c.weights): Float32Array {
  const images = items.filter(isImage);
  let image = 0;
  const tokens = items.map((x): Segment => (isImage(x) ? { kind: 'visual', image: image++, length: x.rows } : { kind: 'text', length: 1 }));
  const layout: Layout = Object.fromEntries([...c.graph.sequences.values()].map((s) => [s.name, s.name === promptSequence ? tokens
    : images.flatMap((_, i) => s.kinds.map((k): Segment => ({ kind: k.name, image: i, length: k.count.constant()! })))]));
  const values = images.flatMap((i) => Array.from(i.data));
  const inputs = Object.fromEntries([...c.graph.inputs].map(([name, n]) => [name, n.attrs['time'] === 'image' ? values : items.filter((x): x is number => !isImage(x))]));
  return Float32Array.from(interpret(c.graph, { layout, inputs, weights }).outputs.get('logits')!.data);
}

/** The weights as a bundle stores them in these formats: matrices rounded, or quantised and back. */
export const storedWeights = (c: Case, formats: Formats): Case['weights'] =>
  new Map([...c.weights].map(([name, w]) => [name, storedAs(formats.get(name) ?? { kind: 'f32' }, w, w.length / c.graph.weights.get(name)!.type.dims[0]!)]));
type Formats = Compiled['formats'];

/** Compiles the case, writes the bundle, loads it, and hands `use` a session on it, and the formats of its weights. */
export async function withSession<T>(c: Case, device: GPUDevice, o: BundleOptions, use: (session: Session, formats: Formats) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'eemllm-random-'));
  try {
    await writeSafetensors(folder, [...c.weights].map(([name, w]) => ({ name, dtype: 'F32' as const, shape: [...c.graph.weights.get(name)!.type.dims], data: () => new Uint8Array(w.buffer, w.byteOffset, w.byteLength) })));
    await writeFile(join(folder, 'config.json'), '{}');
    const files = await Checkpoint.open(folder);
    const { content, formats } = compile(c.graph, {
      name: 'random', type: 'random', variant: 'own', dtype: o.dtype, ...(o.quantise ? { quantise: o.quantise } : {}), maxVisual: o.maxVisual, maxText: o.maxText, targets: [o.device], checkpoint: { files, nameOf: (name) => name }, ...(o.bindingLimit === undefined ? {} : { bindingLimit: o.bindingLimit }), tables: o.tables ?? [],
    });
    await files.close();
    await writeBundle(join(folder, 'bundle'), content);
    const bundle = await openBundleFolder(join(folder, 'bundle'));
    const program = await Program.create(bundle, chooseTarget(bundle, o.features, o.device === 'software', o.tables ? device : {}), device);
    const session = new Session(program, bundle.manifest);
    try {
      await uploadWeights(bundle, program);
      return await use(session, formats);
    } finally {
      session.destroy();
      program.destroy();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export const imagesIn = (items: readonly PromptItem[]): ImageInput[] => [...new Map(items.filter(isImage).map((i) => [i.key, i])).values()];
export const textLength = (items: readonly PromptItem[]): number => items.filter((x) => !isImage(x)).length;
export const visualLength = (items: readonly PromptItem[]): number => items.filter(isImage).reduce((n, i) => n + i.rows, 0);
