import { Command } from 'commander';
import pc from 'picocolors';
import type { AnswerTimings, ChatMessage } from '../../runtime/node.ts';
import { loadModel } from '../../runtime/node.ts';
import type { AdapterPreference } from '../../runtime/node-adapter.ts';
import { UserError } from '../ir/errors.ts';
import { collect, counting, number, printJson } from './output.ts';
import { progressBar } from './progress.ts';
import { runPictures } from './run/pictures.ts';
import { runTimings, timingsText } from './run/timings.ts';

interface RunOptions {
  measure?: boolean;
  image?: string[]; prompt?: string[]; maxTokens?: number; temperature?: number; topK?: number; topP?: number; seed?: number;
  memory?: string; adapter?: AdapterPreference; raw?: boolean; chat?: boolean; timings?: boolean; json?: boolean;
}

export const runCommand = (): Command => new Command('run')
  .description('Ask a bundle about pictures; the answer streams. Several prompts share the pictures and their visual memory.')
  .argument('<bundle>', 'folder that `eemllm compile` made')
  .argument('[questions...]', 'what to ask, as with --prompt')
  .option('--image <file>', 'a picture (PNG, JPEG, WebP); may be given several times', collect)
  .option('--memory <file>', "the pictures' visual memory: made and saved if the file is not there, else loaded, and nothing of the pictures is computed")
  .option('--prompt <text>', 'a question; may be given several times', collect)
  .option('--max-tokens <n>', 'most tokens of an answer', counting('--max-tokens', 1))
  .option('--temperature <t>', '0 (default) takes the likeliest token', number('--temperature', 0, 100))
  .option('--top-k <n>', 'draw among this many likeliest tokens', counting('--top-k'))
  .option('--top-p <p>', 'draw among the likeliest tokens that together have this probability', number('--top-p', 0, 1))
  .option('--seed <n>', 'repeatable draws', counting('--seed'))
  .option('--chat', 'each prompt is the next turn of one conversation, instead of a new one')
  .option('--raw', "prompts are finished text with the image mark in it, no chat template is applied")
  .option('--adapter <kind>', 'auto, hardware, lavapipe or swiftshader')
  .option('--measure', "time the bundle's programs that the adapter can run before the weights are read, and take the quickest")
  .option('--timings', 'print how long each part took until the first token (read, upload, pipelines, vision, prefill), and decode')
  .option('--json', 'print answers as JSON')
  .addHelpText('after', '\nExample:\n  $ eemllm run shapes.bundle --image picture.png --prompt "how many objects are there ?"\n  $ eemllm run shapes.bundle --image picture.png --memory picture.memory "describe the image ."')
  .action(async (bundle: string, questions: string[], options: RunOptions) => {
    const prompts = [...questions, ...(options.prompt ?? [])];
    if (!prompts.length) throw new UserError('There is no question to answer. Add one, as in eemllm run BUNDLE "what is this ?", or with --prompt.');
    if (options.raw && options.chat) throw new UserError('--raw and --chat exclude each other: a raw prompt is one finished text.');
    const start = performance.now(), bar = options.json ? undefined : progressBar('loading weights');
    const loaded = await loadModel(bundle, { ...(options.adapter ? { adapter: { prefer: options.adapter } } : {}), ...(options.measure ? { measure: true } : {}), onProgress: (p) => bar?.update(p.bytes, p.total) }).finally(() => bar?.stop());
    const { model, adapter, device } = loaded;
    try {
      const load = performance.now() - start, images = await device.guard(runPictures(model, options.image ?? [], options.memory));
      const pictures = performance.now() - start - load;
      const answers: { prompt: string; text: string; tokens: number[] }[] = [], timings: AnswerTimings[] = [];
      const history: ChatMessage[] = [];
      for (const prompt of prompts) {
        const first = history.length === 0;
        const turn: ChatMessage = { role: 'user', content: [...(first ? images.map(() => ({ type: 'image' as const })) : []), { type: 'text', text: prompt }] };
        const messages = options.chat ? [...history, turn] : [turn];
        if (!options.json && prompts.length > 1) process.stdout.write(`${pc.dim(`> ${prompt}`)}\n`);
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
      const total = runTimings(load, model.loadTimings, pictures, timings);
      if (options.json) printJson({ answers, timings: total, work: model.session.counters, adapter: { name: adapter.name, kind: adapter.kind, target: model.program.target.name, toggles: adapter.toggles } });
      else if (options.timings) process.stderr.write(`${pc.dim(timingsText(adapter.name, total))}\n`);
    } finally {
      loaded.close();
    }
  });
