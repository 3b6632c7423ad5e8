import { readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { Command } from 'commander';
import pc from 'picocolors';
import type { AdapterPreference, ImageInput } from '../../runtime/node.ts';
import { Model, decodeImage, findAdapter, openBundleFolder } from '../../runtime/node.ts';
import type { Answer } from './demo/ask.ts';
import { ask, medianTimes, visualRows } from './demo/ask.ts';
import type { Built, Mask } from './demo/programs.ts';
import { build, bytesOf, cacheFolder, costOf, masks, shapes } from './demo/programs.ts';
import type { Result, Side } from './demo/report.ts';
import { closingTable } from './demo/report.ts';
import { findModel } from './model.ts';
import { milliseconds, percent, printJson, si } from './output.ts';

/** A line of `expected.jsonl`: a question about a shipped picture, and what was drawn. */
interface Question { readonly image: string; readonly question: string; readonly truth: string }
interface Asked extends Question { readonly answers: Readonly<Record<Mask, string>>; readonly same: boolean }
type Loaded = Readonly<Record<Mask, Built & { readonly model: Model }>>;

const pictures = 3, questionsEach = 3, rounds = 5;

export const demoCommand = (): Command => new Command('demo')
  .description('Compile the shapes model with two masks, ask both about pictures, and compare what it took.')
  .option('--adapter <kind>', 'auto, hardware, lavapipe or swiftshader')
  .option('--json', 'print the comparison as JSON')
  .action(async (options: { adapter?: AdapterPreference; json?: boolean }) => {
    const say = (text: string): void => { if (!options.json) process.stdout.write(text); };
    const adapter = await findAdapter(options.adapter ? { prefer: options.adapter } : {});
    say(`Adapter: ${pc.bold(adapter.name)}, because ${adapter.why}.\n\n`);
    const source = await findModel(join(shapes, 'checkpoint')), cache = cacheFolder(), device = await adapter.open();
    try {
      const loaded = {} as Record<Mask, Built & { model: Model }>;
      for (const mask of masks) {
        say(`Compiling examples/shapes with the mask '${mask}' … `);
        const built = await build(source, mask, cache), start = performance.now();
        say(`${milliseconds(built.took)}; on the device `);
        const model = await device.guard(Model.load(await openBundleFolder(built.folder), device.device, { software: adapter.software }));
        say(`${milliseconds(performance.now() - start)}\n`);
        loaded[mask] = { ...built, model };
      }
      say(`\nWho may attend to whom is all that differs:\n${masks.map((m) => `  ${m.padEnd(10)} ${maskText(loaded[m].model)}\n`).join('')}`);
      const asked = await askAll(loaded, say);
      say(`\nMeasuring both by turns, ${rounds} times each … `);
      const result: Result = {
        adapter: { name: adapter.name, kind: adapter.kind, why: adapter.why, target: loaded.self.model.program.target.name },
        ...(await compare(loaded, (mask, visual, text) => costOf(source, mask, visual, text))), convention: 'exact', rounds,
        asked: asked.length, agree: asked.filter((a) => a.same).length,
        right: { self: right(asked, 'self'), composite: right(asked, 'composite') },
      };
      device.check();
      if (options.json) { printJson({ ...result, answers: asked }); return; }
      say(`done\n\nOne picture of ${result.visual} visual tokens and a question of ${result.text} text tokens on ${adapter.name}, f32:\n\n${closingTable(result)}\n\n`);
      say(`${await largerPictures()}\n\n`);
      say(`${ownQuestion(loaded.composite.folder)}\n`);
    } finally {
      device.close();
    }
  });

/** The masks over the prompt's tokens; a tower's, where every patch reads every patch, says nothing. */
const maskText = (m: Model): string => Object.values(m.bundle.manifest.model.mask).filter((t) => t !== 'true').join('; ');

const right = (asked: readonly Asked[], mask: Mask): number => asked.filter((a) => a.answers[mask] === a.truth).length;

/** The first pictures that ship, with the first questions about each. */
function shipped(): Question[] {
  const lines = readFileSync(join(shapes, 'expected.jsonl'), 'utf8').split('\n').filter(Boolean).map((l) => JSON.parse(l) as Question);
  const files = [...new Set(lines.map((l) => l.image))].slice(0, pictures);
  return files.flatMap((f) => lines.filter((l) => l.image === f).slice(0, questionsEach));
}

/** Streams the composite program's answers, and asks the baseline the same. */
async function askAll(loaded: Loaded, say: (text: string) => void): Promise<Asked[]> {
  const out: Asked[] = [];
  let before: string | undefined, images: Record<Mask, ImageInput> | undefined;
  for (const q of shipped()) {
    const again = q.image === before;
    if (!again) {
      const raw = await decodeImage(join(shapes, q.image));
      images = { self: await loaded.self.model.image(raw), composite: await loaded.composite.model.image(raw) };
      say(`\n${pc.bold(basename(q.image))}\n`);
    }
    before = q.image;
    say(`  ${q.question} ${pc.dim('→')} `);
    const composite = await ask(loaded.composite.model, q.question, images!.composite, { onText: (t) => say(pc.green(t)) });
    const self = await ask(loaded.self.model, q.question, images!.self);
    const same = self.tokens.join() === composite.tokens.join();
    say(pc.dim(`   (drawn: ${q.truth}; self says ${same ? 'the same' : self.text})\n`));
    if (again && out.at(-2)?.image !== q.image) say(pc.dim(`    ${secondQuestion(loaded.composite.model, composite)}\n`));
    out.push({ ...q, answers: { self: self.text, composite: composite.text }, same });
  }
  return out;
}

function secondQuestion({ bundle: { manifest } }: Model, { first, rest }: Answer): string {
  const rows = visualRows(manifest, first) + visualRows(manifest, rest);
  return rows === 0 ? 'a second question about this picture: the counters say that no visual row was computed again' : `a second question about this picture computed ${rows} visual rows again`;
}

/** Both programs by turns on a picture that neither has seen, so that whatever else the machine does falls on both. */
async function compare(loaded: Loaded, cost: (mask: Mask, visual: number, text: number) => Side['cost']): Promise<Pick<Result, 'visual' | 'text' | 'sides'>> {
  const { image: file, question } = shipped()[0]!, raw = await decodeImage(join(shapes, file));
  const runs: Record<Mask, Answer[]> = { self: [], composite: [] }, again: Record<Mask, Answer[]> = { self: [], composite: [] };
  let visual = 0;
  for (let round = 0; round <= rounds; round++)
    for (const mask of masks) {
      const { model } = loaded[mask], image = await model.image(raw);
      visual = image.rows;
      model.session.reset();
      // A key of its own makes the visual memory see a new picture. The first round warms up.
      const run = await ask(model, question, { ...image, key: `round ${round}` });
      model.session.reset();
      const next = await ask(model, question, { ...image, key: `round ${round}` });
      if (round > 0) { runs[mask].push(run); again[mask].push(next); }
    }
  const text = runs.self[0]!.textRows;
  const side = (mask: Mask): Side => {
    const built = loaded[mask], all = runs[mask], { first, rest, tokens } = all[0]!, fresh = medianTimes(all.map((r) => r.times));
    return {
      cost: cost(mask, visual, text), bytes: bytesOf(built, visual, text),
      memory: Object.values(built.model.program.target.buffers).reduce((s, b) => s + b.bytes, 0),
      dispatches: { prompt: first.dispatches, token: rest.steps ? rest.dispatches / rest.steps : 0 },
      times: { fresh, again: medianTimes(again[mask].map((r) => r.times)) }, perToken: tokens.length > 1 ? fresh.decode / (tokens.length - 1) : 0,
    };
  };
  return { visual, text, sides: { self: side('self'), composite: side('composite') } };
}

/** The same two masks where pictures have more tokens: what a sparse mask saves grows with them. */
async function largerPictures(): Promise<string> {
  const name = 'llava-1.5-7b', source = await findModel(name);
  const saved = [576, 2880].map((visual) => {
    const [self, composite] = masks.map((m) => costOf(source, m, visual, 40).total) as [bigint, bigint];
    return `${visual} visual tokens ${si(self)} → ${si(composite)} (−${percent(self - composite, self)})`;
  });
  return `Larger pictures and models save more. ${name}, FLOPs of a prompt under the same masks: ${saved.join(', ')}.`;
}

/** How to go on, as a command that works where the user stands. */
function ownQuestion(folder: string): string {
  const near = relative(process.cwd(), folder), bundle = near && !near.startsWith('..') ? near : folder;
  return `Ask your own: node bin/eemllm.js run ${bundle} --image YOUR.png --prompt "how many objects are there ?"`;
}
