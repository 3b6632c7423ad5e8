/** `eemllm`: one file a command; this one finds the command and turns errors into exit codes. */
import { Command, CommanderError } from 'commander';
import { version } from '../version.ts';

/** Commands by name. A command's own imports (a TypeScript parser, a GPU binding) are loaded when it runs. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  compile: async () => (await import('./compile.ts')).compileCommand(),
  run: async () => (await import('./run.ts')).runCommand(),
  serve: async () => (await import('./serve.ts')).serveCommand(),
  flops: async () => (await import('./flops.ts')).flopsCommand(),
  sweep: async () => (await import('./sweep.ts')).sweepCommand(),
  report: async () => (await import('./report.ts')).reportCommand(),
  opt: async () => (await import('./opt.ts')).optCommand(),
  tune: async () => (await import('./tune.ts')).tuneCommand(),
  profile: async () => (await import('./profile.ts')).profileCommand(),
  verify: async () => (await import('./verify.ts')).verifyCommand(),
  inspect: async () => (await import('./inspect.ts')).inspectCommand(),
  doctor: async () => (await import('./doctor.ts')).doctorCommand(),
  demo: async () => (await import('./demo.ts')).demoCommand(),
};

/** The command line with the one command that `args` name, or with all of them for the overview. */
async function commandLine(args: readonly string[]): Promise<Command> {
  const root = new Command('eemllm')
    .description('Compile multimodal LLMs to WebGPU: say with a mask who may attend to whom, run only the work that somebody reads.')
    .version(version)
    .showHelpAfterError('(add --help for usage)')
    .addHelpText('after', `
Examples:
  $ eemllm flops llava-1.5-7b --visual 576 --text 64 --compare self,composite
  $ eemllm compile examples/shapes/checkpoint --mask composite -o shapes.bundle
  $ eemllm run shapes.bundle --image picture.png --prompt "how many objects are there ?"`);
  const named = args.find((a) => !a.startsWith('-'));
  const wanted = named !== undefined && Object.hasOwn(commands, named) ? [named] : Object.keys(commands);
  for (const name of wanted) root.addCommand(await commands[name]!());
  const strict = (c: Command): void => { c.exitOverride(); c.commands.forEach(strict); };
  strict(root);
  return root;
}

/** Runs the command line. Exit code 0: done; 1: the user's error, told in a sentence; 2: ours. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    await (await commandLine(args)).parseAsync([...args], { from: 'user' });
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
