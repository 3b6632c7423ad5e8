import { extname } from 'node:path';
import { Command, Option } from 'commander';
import { splitVariants, takesRules } from '../../models/index.ts';
import { conventionNamed } from '../../passes/flops.ts';
import { conventions } from '../cost/conventions.ts';
import type { MathType } from '../cost/device-profiles.ts';
import { deviceProfiles, mathTypes } from '../cost/device-profiles.ts';
import type { PictureSize } from '../dsl/image-layout.ts';
import { UserError } from '../ir/errors.ts';
import { deviceOf } from './device.ts';
import { pictureSize } from './image-size.ts';
import { findModel } from './model.ts';
import { collect, counting, exactJson } from './output.ts';
import { progressBar } from './progress.ts';
import { openOptions } from './sweep/options.ts';
import { readOver } from './sweep/over.ts';
import { sweep } from './sweep/points.ts';
import { csvOf, jsonOf } from './sweep/write.ts';
import { checkWritable, writeOutput } from './write-file.ts';

interface Flags { over: string[]; visual?: number; image?: PictureSize; text: number; images?: number; compare?: string; convention: string; device?: string; math?: MathType; checkpoint?: string; output: string; json?: boolean }

export const sweepCommand = (): Command => new Command('sweep')
  .description("What a model's variants cost over a range of sizes. Formulas are made once for each variant and evaluated at every size.")
  .argument('<model>', 'file.ts#Export, a built-in name (llava-1.5-7b, …), a checkpoint folder or a config.json')
  .requiredOption('--over <name=values>', 'what is swept: visual, text, pictures, image, resolution, or an option of the variants; twice for every combination of two', collect)
  .option('--visual <n>', 'visual tokens, where they are not swept; as many as a picture has by default', counting('--visual'))
  .option('--image <WxH>', "size of every picture in pixels, by the model's own tiling, in place of --visual", (text: string) => pictureSize(text))
  .option('--text <n>', 'text tokens, where they are not swept', counting('--text'), 64)
  .option('--images <n>', 'pictures in the prompt, where they are not swept (1 by default)', counting('--images', 1))
  .option('--compare <variants>', "variants side by side, the first is the baseline; 'self' and the model itself by default")
  .option('--convention <name>', `how FLOPs are counted: ${Object.keys(conventions).join(', ')}`, 'exact')
  .option('--device <name>', `add the time at best of the prompt: ${Object.keys(deviceProfiles).join(', ')}, or a profile in a .json file`)
  .addOption(new Option('--math <type>', 'arithmetic whose peak the device gives (f16 by default, where the profile has it)').choices(mathTypes))
  .option('--checkpoint <dir>', 'take the config from this folder')
  .requiredOption('-o, --output <file>', 'FILE.csv, FILE.json, or - for CSV on standard output')
  .option('--json', 'write JSON whatever the file is called')
  .addHelpText('after', `
Swept are (values like 64,128 or 64..1024:64; both ends belong to a range):
  visual=64..4900:64      visual tokens
  text=16,64,256          text tokens
  pictures=1..8           pictures in the prompt
  image=336,672,980x672   pictures of these sizes, through the model's own tiling rule
  resolution=336..980:14  the model with its vision tower built for square pictures of so many pixels
  layers=0..32:4          the first n layers of every variant of --compare that does not name its own
  ratio=0.1..0.9:0.1      the share of the visual rows that fastv and pdrop let go on
  k=0..32:4               or any other option that a variant of --compare leaves open

Examples:
  $ eemllm sweep llava-1.5-7b --over visual=64..4900:64 --compare self,composite -o cost.csv
  $ eemllm sweep llava-1.5-7b --over resolution=336,672,980 --over text=16,256 --compare self,composite -o - --json
  $ eemllm sweep llava-1.5-7b --over layers=0..32:4 --compare self,composite,shortv --convention dense -o layers.csv
  $ eemllm sweep llava-1.5-7b --over ratio=0.1..0.9:0.1 --compare self,fastv:k=2 --device h100-sxm -o kept.json`)
  .action(async (spec: string, flags: Flags) => {
    const json = isJson(flags);
    await checkWritable(flags.output);
    const source = await findModel(spec, flags.checkpoint), convention = conventionNamed(flags.convention), device = deviceOf(flags);
    const variants = flags.compare ? splitVariants(flags.compare) : takesRules(source.create()) ? [...new Set(['self', source.ownVariant])] : [source.name];
    const over = flags.over.map((text) => readOver(text, openOptions(variants)));
    if (over.length > 2) throw new UserError(`--over is given ${over.length} times; one or two names can be swept at once.`);
    const bar = progressBar('sweeping', (n) => `${n.toLocaleString('en')} costs`);
    const points = (() => {
      try {
        return sweep({ source, variants, convention, over, fixed: { ...flags, ...(flags.images !== undefined && { pictures: flags.images }) }, onProgress: bar.update, ...(device && { device }) });
      } finally {
        bar.stop();
      }
    })();
    const head = { model: source.name, convention: convention.name, over, ...(device && { device: device.profile.name }) };
    await writeOutput(flags.output, json ? exactJson(jsonOf(head, points)) : csvOf(head, points));
    if (over.some((o) => o.name === 'image') && !source.model.imageLayout) process.stderr.write(`note: ${source.name} resizes every picture to one size, so all of them cost the same. Sweep its tower's resolution with --over resolution=….\n`);
    if (flags.output !== '-') process.stderr.write(`${flags.output}: ${points.length.toLocaleString('en')} sizes of ${variants.length} variant(s), convention ${convention.name}\n`);
  });

function isJson({ output, json }: Flags): boolean {
  const kind = extname(output).toLowerCase();
  if (json || kind === '.json') return true;
  if (output === '-' || kind === '.csv') return false;
  throw new UserError(`The name ${output} says neither CSV nor JSON. Name the file .csv or .json, or add --json.`);
}
