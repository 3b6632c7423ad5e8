import { join, relative } from 'node:path';
import { Command, Option } from 'commander';
import { builtinConfig, splitVariants, takesRules } from '../../models/index.ts';
import { conventionNamed } from '../../passes/flops.ts';
import { makeFolder } from '../bundle/safetensors-writer.ts';
import { conventions } from '../cost/conventions.ts';
import type { MathType } from '../cost/device-profiles.ts';
import { deviceProfiles, mathTypes } from '../cost/device-profiles.ts';
import type { PictureSize } from '../dsl/image-layout.ts';
import { namesModelFile } from '../frontend/load.ts';
import { UserError } from '../ir/errors.ts';
import type { Figure } from '../report/figure.ts';
import { standalone } from '../report/figure.ts';
import { plural } from '../report/format.ts';
import { report } from '../report/report.ts';
import { deviceOf } from './device.ts';
import type { PromptFlags } from './image-size.ts';
import { pictureSizes } from './image-size.ts';
import type { ModelSource } from './model.ts';
import { findModel } from './model.ts';
import { counting } from './output.ts';
import { progressBar } from './progress.ts';
import { makeStudy } from './report/study.ts';
import { checkWritable, writeOutput } from './write-file.ts';

interface Flags extends PromptFlags {
  compare?: string; sizes?: string; generate: number;
  convention: string; device: string; math?: MathType; checkpoint?: string; figures?: string; output: string;
}

export const reportCommand = (): Command => new Command('report')
  .description('One page that shows what a model costs: charts, tables and formulas, in a file that needs nothing else.')
  .argument('<model>', 'file.ts#Export, a built-in name (llava-1.5-7b, …), a checkpoint folder or a config.json')
  .option('--compare <variants>', "variants side by side, the first is the baseline: self,composite,…; 'self' and the model itself by default, or 'composite' where that is the same")
  .option('--sizes <list>', "sizes to compare: the side of the picture for a model that cuts pictures into tiles, the tower's resolution for one that does not, visual tokens for one without a tower; the first is drawn in detail")
  .option('--image <WxH>', "draw a prompt with a picture of this size in detail, by the model's own tiling; may be given several times", pictureSizes)
  .option('--visual <n>', 'draw a prompt with so many visual tokens in detail', counting('--visual'))
  .option('--images <n>', 'pictures that the visual tokens are (1 by default)', counting('--images', 1))
  .option('--text <n>', 'text tokens', counting('--text'), 64)
  .option('--generate <n>', 'tokens that are generated after the prompt, for time and memory', counting('--generate'), 1)
  .option('--convention <name>', `how FLOPs are counted: ${Object.keys(conventions).join(', ')}`, 'exact')
  .option('--device <name>', `device of the roofline: ${Object.keys(deviceProfiles).join(', ')}, or a profile of your own in a .json file`, 'rtx-4090')
  .addOption(new Option('--math <type>', 'arithmetic whose peak the device gives (f16 by default, where the profile has it)').choices(mathTypes))
  .option('--checkpoint <dir>', 'take the config from this folder')
  .option('--figures <folder>', 'write every figure as an SVG and a PNG file of its own, too')
  .requiredOption('-o, --output <file>', 'the page, such as report.html')
  .addHelpText('after', `
Examples:
  $ eemllm report llava-1.5-7b --sizes 336,672,980 -o report.html
  $ eemllm report llava-1.5-7b --compare self,composite,shortv:layers=8-31 --device h100-sxm --figures figures -o report.html
  $ eemllm report examples/shapes/checkpoint -o shapes.html`)
  .action(async (spec: string, flags: Flags) => {
    if (flags.output === '-') throw new UserError('A report is a file to be opened in a browser; name one, such as -o report.html.');
    await checkWritable(flags.output);
    const convention = conventionNamed(flags.convention), device = deviceOf(flags)!, source = await findModel(spec, flags.checkpoint);
    const variants = flags.compare ? splitVariants(flags.compare) : usualVariants(source);
    const bar = progressBar('reporting', (n) => plural(n, 'step'));
    try {
      const study = makeStudy(source, {
        title: namesModelFile(spec) || builtinConfig(spec) ? source.name : shortPath(spec), variants, prompt: flags, convention, device, generate: flags.generate,
        command: commandOf(spec, flags), onProgress: bar.update, ...(flags.sizes !== undefined && { sizes: flags.sizes }),
      });
      const { html, figures } = report(study);
      if (flags.figures !== undefined) await writeFigures(flags.figures, figures);
      await writeOutput(flags.output, html);
      bar.stop();
      process.stderr.write(`${flags.output}: ${source.name}, ${variants.join(', ')}; ${plural(figures.length, 'figure')}${flags.figures === undefined ? '' : `, each in ${flags.figures} as SVG and PNG`}\n`);
    } finally {
      bar.stop();
    }
  });

/** The plain decoder and what the definition itself is, or else composite attention; of a model that takes no variants the model alone. */
const usualVariants = (source: ModelSource): string[] => (takesRules(source.create()) ? ['self', source.ownVariant === 'self' ? 'composite' : source.ownVariant] : [source.name]);

/** From here, where that is shorter. */
function shortPath(path: string): string {
  const here = relative(process.cwd(), path);
  return here && !here.startsWith('..') ? here : path;
}

/** The command line again, without what is so by default. */
function commandOf(spec: string, flags: Flags): string {
  const quoted = (x: string): string => (/^[\w./:=,+@%-]+$/.test(x) ? x : `'${x.replace(/'/g, "'\\''")}'`);
  const given = (Object.entries(flags) as [string, unknown][]).filter(([name, v]) => v !== undefined && !(name in usual && usual[name as keyof typeof usual] === v) && name !== 'output');
  const words = given.flatMap(([name, v]) => (name === 'image' ? (v as PictureSize[]).flatMap((s) => ['--image', `${s.width}x${s.height}`]) : [`--${name}`, String(v)]));
  return ['eemllm report', quoted(spec), ...words.map(quoted), '-o', quoted(flags.output)].join(' ');
}
const usual = { text: 64, generate: 1, convention: 'exact', device: 'rtx-4090' };

async function writeFigures(folder: string, figures: readonly Figure[]): Promise<void> {
  const { default: sharp } = await import('sharp');
  await makeFolder(folder).catch((cause: unknown) => { throw new UserError(`The folder ${folder} cannot be made for the figures (${(cause as NodeJS.ErrnoException).code}). Choose another one with --figures.`, undefined, { cause }); });
  for (const f of figures) {
    const svg = standalone(f);
    await writeOutput(join(folder, `${f.id}.svg`), svg);
    await writeOutput(join(folder, `${f.id}.png`), await sharp(Buffer.from(svg), { density: 192 }).png().toBuffer());
  }
}
