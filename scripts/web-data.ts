/** What the page of examples/web shows besides its own code: two bundles of the shapes model, and what the compiler knows of them. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { trace } from '../compiler/frontend/trace.ts';
import { classTable, printMaskExpr } from '../compiler/ir/mask/index.ts';
import { loadModel } from '../compiler/load-model.ts';
import type { Cost, MaskFacts, PictureFacts, WebData } from '../examples/web/src/data.ts';
import type { Manifest } from '../runtime/manifest.ts';

const repo = fileURLToPath(new URL('..', import.meta.url));
const checkpoint = join(repo, 'examples/shapes/checkpoint');
/** Vite's public folder: everything in it is served, and copied into a build. Git ignores it. */
export const publicFolder = join(repo, '.cache/web');
/** The two programs that the page puts side by side. */
const variants = ['self', 'composite'] as const;

/** A prompt of the shapes model: `<s> user : <image> how many objects are there ? assistant :`. */
const shapesPrompt = { visual: 64, text: 11 };
/** The same masks on a model of everyday size: one picture as LLaVA-1.5 sees it, and a page-sized one. */
const largePrompts = [{ visual: 576, text: 40 }, { visual: 4900, text: 40 }];

export interface PrepareOptions { readonly log?: (line: string) => void }

/** Compiles and counts whatever is missing, or older than the compiler and the checkpoint. */
export async function prepareWeb({ log = () => undefined }: PrepareOptions = {}): Promise<void> {
  const sources = newest(['bin', 'compiler', 'passes', 'models', 'runtime/manifest.ts', 'examples/shapes', 'examples/web/src/data.ts', 'scripts/web-data.ts']);
  const manifests: Record<string, Manifest> = {};
  for (const variant of variants) {
    const folder = join(publicFolder, 'bundles', variant), manifest = join(folder, 'bundle.json');
    if (!(modified(manifest) > sources)) {
      log(`compiling the shapes model as '${variant}'`);
      mkdirSync(join(folder, '..'), { recursive: true });
      await eemllm('compile', checkpoint, '--mask', variant, '-o', folder);
    }
    manifests[variant] = JSON.parse(readFileSync(manifest, 'utf8')) as Manifest;
  }
  const file = join(publicFolder, 'data.json');
  if (modified(file) > sources) return;
  log('counting the work of both');
  const data: WebData = {
    masks: Object.fromEntries(await Promise.all(variants.map(async (v) => [v, await maskFacts(v, manifests[v]!)] as const))),
    cost: await cost(checkpoint, shapesPrompt),
    large: await Promise.all(largePrompts.map((prompt) => cost('llava-1.5-7b', prompt))),
    pictures: pictureFacts(),
  };
  writeFileSync(file, JSON.stringify(data));
}

/** The masks of the prompt in one variant of the model, with what is proven of each for every pair of kinds. */
async function maskFacts(variant: string, { sequences }: Manifest): Promise<readonly MaskFacts[]> {
  const { graph } = trace(await loadModel(checkpoint, { mask: variant }), { name: variant });
  return [...graph.masks.values()].filter((m) => m.sequence.name === sequences[0]!.name).map(({ name, expr, sequence }) => {
    const kinds = sequence.kinds.map((k) => ({ name: k.name, hasImages: k.media }));
    return { name, text: printMaskExpr(expr), expr, pairs: classTable(expr, kinds) };
  });
}

/** The shipped pictures with the questions that `expected.jsonl` asks about each. */
function pictureFacts(): readonly PictureFacts[] {
  const questions = new Map<string, string[]>();
  for (const line of readFileSync(join(repo, 'examples/shapes/expected.jsonl'), 'utf8').split('\n').filter(Boolean)) {
    const { image, question } = JSON.parse(line) as { image: string; question: string };
    const file = basename(image);
    questions.set(file, [...(questions.get(file) ?? []), question]);
  }
  return [...questions].map(([file, asked]) => ({ file, questions: asked }));
}

const cost = async (model: string, { visual, text }: { visual: number; text: number }): Promise<Cost> =>
  JSON.parse(await eemllm('flops', model, '--visual', String(visual), '--text', String(text), '--compare', variants.join(','), '--json')) as Cost;

async function eemllm(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [join(repo, 'bin/eemllm.js'), ...args], { cwd: repo, maxBuffer: 64 << 20 });
  return stdout;
}

/** Milliseconds of a file's last change, 0 where there is none. */
const modified = (file: string): number => (existsSync(file) ? statSync(file).mtimeMs : 0);

function newest(paths: readonly string[]): number {
  const walk = (path: string): number => {
    const stat = statSync(path);
    return stat.isDirectory() ? Math.max(0, ...readdirSync(path).map((name) => walk(join(path, name)))) : stat.mtimeMs;
  };
  return Math.max(...paths.map((p) => walk(join(repo, p))));
}
