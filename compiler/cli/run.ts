import { Command } from 'commander';
import pc from 'picocolors';
import type { ChatMessage, ImageInput } from '../../runtime/node.ts';
import { decodeImage, loadModel } from '../../runtime/node.ts';
import type { AdapterPreference } from '../../runtime/node-adapter.ts';
import { UserError } from '../ir/errors.ts';
import { collect, counting, milliseconds, number, printJson } from './output.ts';
import { progressBar } from './progress.ts';

interface RunOptions {
  image?: string[]; prompt: string[]; maxTokens?: number; temperature?: number; topK?: number; topP?: number; seed?: number;
  adapter?: AdapterPreference; raw?: boolean; chat?: boolean; timings?: boolean; json?: boolean;
}

export const runCommand = (): Command => new Command('run')
  .description('Ask a bundle about pictures; the answer streams. Several prompts share the pictures and their visual memory.')
  .argument('<bundle>', 'folder that `eemllm compile` made')
  .option('--image <file>', 'a picture (PNG, JPEG, WebP); may be given several times', collect)
  .requiredOption('--prompt <text>', 'a question; may be given several times', collect)
  .option('--max-tokens <n>', 'most tokens of an answer', counting('--max-tokens', 1))
  .option('--temperature <t>', '0 (default) takes the likeliest token', number('--temperature', 0, 100))
  .option('--top-k <n>', 'draw among this many likeliest tokens', counting('--top-k'))
  .option('--top-p <p>', 'draw among the likeliest tokens that together have this probability', number('--top-p', 0, 1))
  .option('--seed <n>', 'repeatable draws', counting('--seed'))
  .option('--chat', 'each prompt is the next turn of one conversation, instead of a new one')
  .option('--raw', "prompts are finished text with the image mark in it, no chat template is applied")
  .option('--adapter <kind>', 'auto, hardware, lavapipe or swiftshader')
  .option('--timings', 'print how long each part took')
  .option('--json', 'print answers as JSON')
  .addHelpText('after', '\nExample:\n  $ eemllm run shapes.bundle --image picture.png --prompt "how many objects are there ?"')
  .action(async (bundle: string, options: RunOptions) => {
    if (options.raw && options.chat) throw new UserError('--raw and --chat exclude each other: a raw prompt is one finished text.');
    const start = performance.now(), bar = options.json ? undefined : progressBar('loading weights');
    const loaded = await loadModel(bundle, { ...(options.adapter ? { adapter: { prefer: options.adapter } } : {}), onProgress: (p) => bar?.update(p.bytes, p.total) }).finally(() => bar?.stop());
    const { model, adapter, device } = loaded;
    try {
      const images: ImageInput[] = [];
      for (const file of options.image ?? []) images.push(await model.image(await decodeImage(file), file));
      const load = performance.now() - start;
      const answers: { prompt: string; text: string; tokens: number[] }[] = [], timings: { prefill: number; decode: number; tokens: number }[] = [];
      const history: ChatMessage[] = [];
      for (const prompt of options.prompt) {
        const first = history.length === 0;
        const turn: ChatMessage = { role: 'user', content: [...(first ? images.map(() => ({ type: 'image' as const })) : []), { type: 'text', text: prompt }] };
        const messages = options.chat ? [...history, turn] : [turn];
        if (!options.json && options.prompt.length > 1) process.stdout.write(`${pc.dim(`> ${prompt}`)}\n`);
        let text = '';
        const tokens: number[] = [];
        const { maxTokens, temperature, topK, topP, seed } = options;
        const sampling = { ...(maxTokens ? { maxTokens } : {}), ...(temperature !== undefined ? { temperature } : {}), ...(topK !== undefined ? { topK } : {}), ...(topP !== undefined ? { topP } : {}), ...(seed !== undefined ? { seed } : {}) };
        for await (const piece of model.generate({ ...(options.raw ? { prompt } : { messages }), images, ...sampling })) {
          if (piece.token >= 0) tokens.push(piece.token);
          text += piece.text;
          if (!options.json) process.stdout.write(piece.text);
        }
        device.check();
        if (!options.json) process.stdout.write('\n');
        answers.push({ prompt, text, tokens });
        timings.push({ ...model.timings });
        if (options.chat) history.push(turn, { role: 'assistant', content: [{ type: 'text', text }] });
      }
      const total = { load, pipelines: model.loadTimings.pipelines, upload: model.loadTimings.upload, prefill: sum(timings, 'prefill'), decode: sum(timings, 'decode'), tokens: sum(timings, 'tokens') };
      if (options.json) printJson({ answers, timings: { ...total, answers: timings }, adapter: { name: adapter.name, kind: adapter.kind, target: model.program.target.name, toggles: adapter.toggles } });
      else if (options.timings) process.stderr.write(pc.dim(`${adapter.name}: load ${milliseconds(load)} (pipelines ${milliseconds(total.pipelines)}, upload ${milliseconds(total.upload)}), to first token ${milliseconds(total.prefill)}, ${total.tokens} tokens in ${milliseconds(total.decode)}\n`));
    } finally {
      loaded.close();
    }
  });

const sum = <K extends string>(xs: readonly Record<K, number>[], key: K): number => xs.reduce((s, x) => s + x[key], 0);
