import { Command, Option } from 'commander';
import { conventions } from '../cost/conventions.ts';
import type { MathType } from '../cost/device-profiles.ts';
import { deviceProfiles, mathTypes } from '../cost/device-profiles.ts';
import { compiled } from '../cost/storage.ts';
import { trace } from '../frontend/trace.ts';
import { splitVariants, takesRules } from '../../models/index.ts';
import { conventionNamed } from '../../passes/flops.ts';
import { UserError } from '../ir/errors.ts';
import type { StorageOptions } from '../entries.ts';
import type { Graph } from '../ir/graph.ts';
import { printWeightFormat } from '../ir/weight-format.ts';
import { deviceOf } from './device.ts';
import type { By } from './flops/costs.ts';
import { bys, variantCost } from './flops/costs.ts';
import { formulaLatex, formulaText } from './flops/formulas.ts';
import { jsonOf } from './flops/json.ts';
import type { Head } from './flops/report.ts';
import { report } from './flops/report.ts';
import type { PromptFlags } from './image-size.ts';
import { pictureSizes, promptSizes } from './image-size.ts';
import type { KvFlags } from './kv.ts';
import { kvOption } from './kv.ts';
import { findModel } from './model.ts';
import { counting, printJson } from './output.ts';
import type { QuantFlags } from './quant.ts';
import { keepOption, quantOption, quantiseRules } from './quant.ts';

interface Flags extends PromptFlags, QuantFlags, KvFlags {
  generate: number; compare?: string; convention: string; by: By; device?: string; math?: MathType; dtype: 'f32' | 'f16'; attention: 'fused' | 'unfused';
  checkpoint?: string; formula?: boolean; latex?: boolean; json?: boolean;
}

export const flopsCommand = (): Command => new Command('flops')
  .description('What a prompt costs in a model, read off its graph: the baseline beside variants. No weights are needed.')
  .argument('<model>', 'file.ts#Export, a built-in name (llava-1.5-7b, …), a checkpoint folder or a config.json')
  .option('--visual <n>', 'visual tokens (576 by default)', counting('--visual'))
  .option('--text <n>', 'text tokens', counting('--text'), 64)
  .option('--images <n>', 'pictures that the visual tokens are (1 by default)', counting('--images', 1))
  .option('--image <WxH>', "a picture of this size in pixels, by the model's own tiling, in place of --visual; may be given several times", pictureSizes)
  .option('--generate <n>', 'tokens that are decoded after the prompt, one by one', counting('--generate'), 0)
  .option('--compare <variants>', "variants side by side, the first is the baseline: self,composite,ee-mllm-f:layers=0-15,…; 'self' and the model itself by default")
  .option('--convention <name>', `how FLOPs are counted: ${Object.keys(conventions).join(', ')}`, 'exact')
  .addOption(new Option('--by <what>', 'what the rows of the tables are; entry points are vision, prefill and decode').choices(bys).default('part'))
  .option('--device <name>', `add time at best and memory: ${Object.keys(deviceProfiles).join(', ')}, or a profile in a .json file (eemllm doctor --measure)`)
  .addOption(new Option('--math <type>', 'arithmetic whose peak the device gives (f16 by default, where the profile has it)').choices(mathTypes))
  .addOption(new Option('--dtype <dtype>', 'storage of the weight matrices; all else is f32, as compiled').choices(['f32', 'f16']).default('f16'))
  .addOption(quantOption())
  .addOption(keepOption())
  .addOption(kvOption())
  .addOption(new Option('--attention <kind>', 'fused: scores never go to memory; unfused: they do').choices(['fused', 'unfused']).default('fused'))
  .option('--checkpoint <dir>', 'take the config from this folder')
  .option('--formula', 'print the FLOPs as formulas in V (visual), T (text), G (generated) and tiles')
  .option('--latex', 'print the formulas alone, as an aligned block for LaTeX')
  .option('--json', 'print as JSON, FLOPs as exact integers')
  .addHelpText('after', `\nConventions (of FLOPs; bytes, time and memory are those of the program that is compiled):\n${Object.values(conventions).map((c) => `  ${c.name.padEnd(16)} ${c.says}`).join('\n')}\n\nMedia stand before text in the prompt; a mask that is neither causal nor full is counted pair by pair.`)
  .action(async (spec: string, flags: Flags) => {
    const source = await findModel(spec, flags.checkpoint), convention = conventionNamed(flags.convention), device = deviceOf(flags);
    const own = source.create(), alone = flags.compare === undefined && !takesRules(own); // a tower has one form, and no rules to vary
    const names = flags.compare !== undefined ? splitVariants(flags.compare) : alone ? [source.ownVariant] : [...new Set(['self', source.ownVariant])];
    const models = names.map((name) => { const model = alone ? own : source.create(name); return { name, model, graph: trace(model).graph }; });
    const { visual, text, images, tiles, tower } = promptSizes(models[0]!, flags, 576);
    if (visual + text === 0) throw new UserError('A prompt of no visual and no text tokens costs nothing; give --visual or --text.');
    const sizes = { dims: { V: visual, T: text, ...tower }, images, tiles, generate: flags.generate }, quantise = quantiseRules(flags, flags.dtype);
    const stored = { dtype: flags.dtype, kv: flags.kv, ...(quantise ? { quantise } : {}) }, measured = quantise !== undefined || flags.kv !== 'f32';
    const memory = { storage: compiled[flags.dtype], attention: flags.attention === 'fused' ? 'fused' as const : 'apart' as const };
    const costs = models.map(({ name, graph }) => variantCost(name, graph, { sizes, convention, by: flags.by, memory, stored, measured, ...(device && { device }) }));
    const head: Head = {
      model: source.name, convention, by: flags.by, ...(device && { device }),
      prompt: hasText(models[0]!.graph) ? `${visual} visual and ${text} text tokens${images > 1 ? ` in ${images} images` : ''}${tiles !== images ? `, ${tiles} tiles` : ''}${flags.generate ? `, ${flags.generate} generated` : ''}` : `${tiles} picture${tiles > 1 ? 's' : ''}`,
      stored: storedIn(stored),
      scores: flags.attention === 'fused' ? 'never go to memory' : 'go to memory',
    };
    if (flags.json) printJson(jsonOf(head, sizes, costs, flags));
    else if (flags.latex) process.stdout.write(formulaLatex(head, costs));
    else process.stdout.write(report(head, costs) + (flags.formula ? `\n${formulaText(head, costs)}` : ''));
  });

/** How wide numbers lie, in words. */
function storedIn({ dtype, quantise, kv }: StorageOptions): string {
  const special = [...(quantise ? [`the decoder's matrices ${printWeightFormat(quantise.format)}${quantise.keep.length ? ' but for those kept' : ''}`] : []), ...(dtype === 'f16' ? [`${quantise ? 'other ' : ''}matrices f16`] : []), ...(kv !== undefined && kv !== 'f32' ? [`keys and values ${kv}`] : [])];
  return special.length ? `${special.join(', ')}, all else f32` : 'all numbers f32';
}

/** False for a tower by itself. */
const hasText = (g: Graph): boolean => [...g.sequences.values()].some((s) => s.kinds.some((k) => !k.media));
