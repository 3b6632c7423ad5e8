/**
 * Answers every line of examples/shapes/expected.jsonl with one bundle in a process of its own, since a process can use
 * one kind of adapter: `node --import tsx answer-shapes.ts BUNDLE [none]`, where `none` opens the device without features.
 * Prints JSON: the target, and the tokens of every line in order.
 */
import { join } from 'node:path';
import type { ImageInput } from '../../runtime/node.ts';
import { decodeImage, loadModel } from '../../runtime/node.ts';
import { shapesFolder, shapesLines } from './shapes-lines.ts';

const [bundle, features] = process.argv.slice(2);
const loaded = await loadModel(bundle!, features === 'none' ? { device: { features: [] } } : {}), { model } = loaded;
const start = performance.now(), images = new Map<string, ImageInput>(), answers: number[][] = [];
for (const line of shapesLines()) {
  if (!images.has(line.image)) images.set(line.image, await model.image(await decodeImage(join(shapesFolder, line.image)), line.image));
  const tokens: number[] = [];
  const messages = [{ role: 'user', content: [{ type: 'image' as const }, { type: 'text' as const, text: line.question }] }];
  for await (const piece of model.generate({ messages, images: [images.get(line.image)!], maxTokens: 64 })) if (piece.token >= 0) tokens.push(piece.token);
  answers.push(tokens);
}
loaded.device.check();
process.stdout.write(JSON.stringify({ target: model.program.target.name, adapter: loaded.adapter.kind, seconds: (performance.now() - start) / 1000, answers }));
loaded.close();
