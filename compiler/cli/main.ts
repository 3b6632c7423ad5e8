/** `eemllm`: one file a command; this one puts them together and turns errors into exit codes. */
import { Command, CommanderError } from 'commander';
import { compileCommand } from './compile.ts';
import { demoCommand } from './demo.ts';
import { doctorCommand } from './doctor.ts';
import { flopsCommand } from './flops.ts';
import { inspectCommand } from './inspect.ts';
import { optCommand } from './opt.ts';
import { version } from '../version.ts';
import { runCommand } from './run.ts';
import { verifyCommand } from './verify.ts';

export function program(): Command {
  const commands = [compileCommand, runCommand, flopsCommand, optCommand, verifyCommand, inspectCommand, doctorCommand, demoCommand].map((make) => make());
  const root = new Command('eemllm')
    .description('Compile multimodal LLMs to WebGPU: say with a mask who may attend to whom, run only the work that somebody reads.')
    .version(version)
    .showHelpAfterError('(add --help for usage)')
    .addHelpText('after', `
Examples:
  $ eemllm flops llava-1.5-7b --visual 576 --text 64 --compare self,composite
  $ eemllm compile examples/shapes/checkpoint --mask composite -o shapes.bundle
  $ eemllm run shapes.bundle --image picture.png --prompt "how many objects are there ?"`);
  for (const c of commands) root.addCommand(c);
  const strict = (c: Command): void => { c.exitOverride(); c.commands.forEach(strict); };
  strict(root);
  return root;
}

/**
 * Runs the command line. Exit code 0: done; 1: the user's error, told in a sentence; 2: ours.
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    await program().parseAsync([...args], { from: 'user' });
    return process.exitCode === undefined ? 0 : Number(process.exitCode);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 1;
    if (error instanceof Error && (error as { exitCode?: unknown }).exitCode === 1) {
      process.stderr.write(`error: ${error.message}\n`);
      return 1;
    }
    process.stderr.write(`internal error: ${error instanceof Error ? error.stack ?? error.message : String(error)}\nThis is a fault of eemllm, not yours. Please report it with the command and this text.\n`);
    return 2;
  }
}
