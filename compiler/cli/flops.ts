import { Command } from 'commander';
import { conventions } from '../cost/conventions.ts';
import { trace } from '../frontend/trace.ts';
import { splitVariants } from '../../models/index.ts';
import { conventionNamed, costFormula } from '../../passes/flops.ts';
import { UserError } from '../ir/errors.ts';
import { findModel } from './model.ts';
import { counting, percent, printJson, si, table } from './output.ts';

interface Flags { visual: number; text: number; images: number; compare?: string; convention: string; checkpoint?: string; formula?: boolean; json?: boolean }

export const flopsCommand = (): Command => new Command('flops')
  .description('What one prefill of a model costs, read off its graph: the baseline beside variants. No weights are needed.')
  .argument('<model>', 'file.ts#Export, a built-in name (llava-1.5-7b, …), a checkpoint folder or a config.json')
  .option('--visual <n>', 'visual tokens', counting('--visual'), 576)
  .option('--text <n>', 'text tokens', counting('--text'), 64)
  .option('--images <n>', 'pictures that the visual tokens are', counting('--images', 1), 1)
  .option('--compare <variants>', "variants side by side, the first is the baseline: self,composite,ee-mllm-f:layers=0-15,…; 'self' and the model itself by default")
  .option('--convention <name>', `how FLOPs are counted: ${Object.keys(conventions).join(', ')}`, 'exact')
  .option('--checkpoint <dir>', 'take the config from this folder')
  .option('--formula', 'print the cost as a polynomial in V (visual) and T (text)')
  .option('--json', 'print as JSON, FLOPs as exact integers')
  .addHelpText('after', `\nConventions:\n${Object.values(conventions).map((c) => `  ${c.name.padEnd(16)} ${c.says}`).join('\n')}\n\nMedia stand before text in the prompt; a mask that is neither causal nor full is counted pair by pair.`)
  .action(async (spec: string, flags: Flags) => {
    if (flags.visual + flags.text === 0) throw new UserError('A prompt of no visual and no text tokens costs nothing; give --visual or --text.');
    const source = await findModel(spec, flags.checkpoint), convention = conventionNamed(flags.convention);
    const names = flags.compare ? splitVariants(flags.compare) : [...new Set(['self', source.ownVariant])];
    const sizes = { dims: { V: flags.visual, T: flags.text }, images: flags.images };
    const costs = names.map((name) => {
      const formula = costFormula(trace(source.create(name)).graph, convention);
      return { name, formula, cost: formula.at(sizes) };
    });
    if (flags.json) {
      printJson({
        model: source.name, convention: convention.name, visual: flags.visual, text: flags.text, images: flags.images,
        variants: costs.map(({ name, formula, cost }) => ({ name, parts: cost.parts, decoder: cost.decoder, total: cost.total, ...(flags.formula ? { formula: Object.fromEntries(Object.entries(formula.parts).map(([p, x]) => [p, x.toString()])) } : {}) })),
      });
      return;
    }
    process.stdout.write(report(source.name, flags, convention.says, costs));
  });

function report(model: string, flags: Flags, says: string, costs: readonly { name: string; formula: ReturnType<typeof costFormula>; cost: ReturnType<ReturnType<typeof costFormula>['at']> }[]): string {
  const base = costs[0]!.cost;
  const rows: [string, (c: typeof base) => bigint][] = [
    ['vision tower', (c) => c.parts.vision], ['projector', (c) => c.parts.projector], ['decoder', (c) => c.parts.decoder],
    ['  visual rows', (c) => c.decoder.visual], ['  text rows', (c) => c.decoder.text], ['  attention scores', (c) => c.decoder.scores],
    ['head', (c) => c.parts.head], ['total', (c) => c.total],
  ];
  const cell = (c: typeof base, f: (c: typeof base) => bigint, first: boolean): string => (first ? si(f(c)) : `${si(f(c))}  ${percent(f(c), f(base))}`);
  const lines = [
    `${model}, ${flags.visual} visual and ${flags.text} text tokens; FLOPs, convention ${flags.convention}: ${says}`, '',
    table(['', ...costs.map((c) => c.name)], rows.map(([label, f]) => [label, ...costs.map((c, i) => cell(c.cost, f, i === 0))])),
  ];
  if (flags.formula) for (const { name, formula } of costs) lines.push('', `${name}:`, ...Object.entries(formula.parts).map(([p, x]) => `  ${p} = ${x.toString()}`));
  return lines.join('\n') + '\n';
}
