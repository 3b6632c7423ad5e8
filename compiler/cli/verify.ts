import { Command, Option } from 'commander';
import pc from 'picocolors';
import type { AdapterPreference } from '../../runtime/node-adapter.ts';
import type { TensorResult, VerifyReport } from '../verify/report.ts';
import { worstOf } from '../verify/report.ts';
import { verify } from '../verify/verify.ts';
import type { KvFlags } from './kv.ts';
import { kvOption } from './kv.ts';
import { collect, precisionOf, printJson, table } from './output.ts';
import { progressBar } from './progress.ts';
import type { QuantFlags } from './quant.ts';
import { keepOption, quantOption, quantiseRules } from './quant.ts';

interface VerifyFlags extends QuantFlags, KvFlags {
  golden?: string; variant?: string[]; case?: string[]; dtype: 'f32' | 'f16'; backend: 'gpu' | 'interpreter'; adapter?: AdapterPreference; all?: boolean; json?: boolean;
}

export const verifyCommand = (): Command => new Command('verify')
  .description('Compare a compiled checkpoint, tensor by tensor, with what a reference implementation computed. Exit code 0 only if all holds.')
  .argument('<checkpoint>', 'a Hugging Face checkpoint folder')
  .option('--golden <file>', 'golden.json of the reference run, its tensors beside it; the checkpoint folder\'s own by default')
  .option('--variant <name>', 'baseline, ee_mllm or ee_mllm_f; may be given several times; all that the golden file has by default', collect)
  .option('--case <name>', 'only this case; may be given several times', collect)
  .addOption(new Option('--dtype <dtype>', 'storage of the weight matrices').choices(['f32', 'f16']).default('f32'))
  .addOption(quantOption())
  .addOption(keepOption())
  .addOption(kvOption())
  .addOption(new Option('--backend <backend>', 'run kernels on a device, or the graphs in the reference interpreter').choices(['gpu', 'interpreter']).default('gpu'))
  .option('--adapter <kind>', 'auto, hardware, lavapipe or swiftshader')
  .option('--all', 'list every tensor, and those that were not compared')
  .option('--json', 'print everything as JSON')
  .addHelpText('after', '\nExample:\n  $ eemllm verify test/fixtures/llava-clip-llama-a --golden test/fixtures/llava-clip-llama-a/golden.json --variant ee_mllm\n  $ eemllm verify test/fixtures/llava-clip-llama-a --quant int8 --backend interpreter')
  .action(async (checkpoint: string, flags: VerifyFlags) => {
    const quantise = quantiseRules(flags, flags.dtype), bar = flags.json ? undefined : progressBar('verifying');
    const report = await verify(checkpoint, {
      ...(flags.golden === undefined ? {} : { golden: flags.golden }), ...(flags.variant ? { variants: flags.variant } : {}), ...(flags.case ? { cases: flags.case } : {}),
      ...(flags.adapter ? { adapter: flags.adapter } : {}), dtype: flags.dtype, ...(quantise ? { quantise } : {}), kv: flags.kv, backend: flags.backend, onProgress: (done, total) => bar?.update(done, total),
    }).finally(() => bar?.stop());
    if (flags.json) printJson(report); else process.stdout.write(describe(report, flags.all ?? false));
    process.exitCode = report.ok ? 0 : 1;
  });

function describe(r: VerifyReport, all: boolean): string {
  const lines: string[] = [], rows = all ? r.tensors.map((worst) => ({ worst, count: 1 })) : worstOf(r.tensors);
  lines.push(`${r.checkpoint}, ${precisionOf(r)}, on ${r.adapter ?? 'the interpreter'}`, '');
  lines.push(table(['case', 'variant', all ? 'tensor' : 'worst tensor', ...(all ? [] : ['of']), 'absolute', 'relative', ...(byRms(r) ? ['RMS'] : []), 'limit', ''],
    rows.map(({ worst: t, count }) => [t.case ?? '–', t.variant ?? '–', shortName(t), ...(all ? [] : [String(count)]), error(t.absolute), error(t.relative), ...(byRms(r) ? [error(t.rms)] : []), t.tolerance === 0 ? 'exact' : `${error(t.tolerance)}${t.measure === 'rms' ? ' RMS' : ''}`, t.ok ? 'ok' : pc.red('FAILS')])));
  lines.push('', table(['case', 'variant', 'greedy tokens', ''], r.tokens.map((t) => [t.case, t.variant, t.given.join(' '), t.equal ? 'equal' : pc.red(`expected ${t.expected.join(' ')}`)])));
  const reasons = new Map<string, string[]>();
  for (const { tensor, reason } of r.notCompared) reasons.set(reason, [...(reasons.get(reason) ?? []), tensor]);
  if (reasons.size) lines.push('', 'Not compared:', ...[...reasons].map(([reason, names]) => `  ${names.length} tensor(s): ${reason}${all ? `: ${names.join(', ')}` : ''}`));
  const failed = r.tensors.filter((t) => !t.ok).length, unequal = r.tokens.filter((t) => !t.equal).length;
  const tokens = unequal ? `, greedy tokens differ in ${unequal} of ${r.tokens.length} run(s)${r.ok ? ` (which ${precisionOf(r)} does not guarantee to be equal)` : ''}` : `, greedy tokens equal in all ${r.tokens.length} run(s)`;
  lines.push('', `${failed ? pc.red(`${failed} of ${r.tensors.length} comparisons exceed their limit`) : `All ${r.tensors.length} comparisons are within their limits`}${tokens}.`);
  return lines.join('\n') + '\n';
}

/** True if some tensor's limit is one of its RMS error. */
const byRms = (r: VerifyReport): boolean => r.tensors.some((t) => t.measure === 'rms');
const shortName = (t: TensorResult): string => (t.case === undefined ? t.tensor : t.tensor.slice(t.case.length + 1));
const error = (x: number): string => (x === 0 ? '0' : Number.isFinite(x) ? x.toExponential(1) : 'no number');
