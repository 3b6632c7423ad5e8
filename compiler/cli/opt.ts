import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { UserError } from '../ir/errors.ts';
import { nearest } from '../ir/spelling.ts';
import { parseGraph } from '../ir/parse.ts';
import { printGraph, printProgram } from '../ir/print.ts';
import { allPasses, runPass } from '../../passes/pipeline.ts';

export const optCommand = (): Command => new Command('opt')
  .description('Run passes on textual IR and print the result.')
  .argument('[file]', "a file with IR text, '-' for standard input", '-')
  .requiredOption('--passes <names>', `passes in order, separated by commas: ${allPasses.map((p) => p.name).join(', ')}`)
  .option('--print-after <pass>', "print the graph after this pass, or after 'all', to standard error")
  .addHelpText('after', `\nPasses:\n${allPasses.map((p) => `  ${p.name.padEnd(14)} ${p.proves}`).join('\n')}`)
  .action((file: string, options: { passes: string; printAfter?: string }) => {
    let current: ReturnType<typeof runPass> = parseGraph(read(file), file === '-' ? '<stdin>' : file);
    const names = options.passes.split(',').map((n) => n.trim()).filter(Boolean);
    for (const name of names) {
      const pass = allPasses.find((p) => p.name === name);
      if (!pass) throw new UserError(`There is no pass '${name}'${nearest(name, allPasses.map((p) => p.name)) ? `; '${nearest(name, allPasses.map((p) => p.name))}' comes nearest` : ''}. The passes are ${allPasses.map((p) => p.name).join(', ')}.`);
      current = runPass(pass, current);
      if (options.printAfter === 'all' || options.printAfter === name) process.stderr.write(`// after ${name}\n${text(current)}\n`);
    }
    process.stdout.write(text(current) + '\n');
  });

const text = (x: ReturnType<typeof runPass>): string => ('graphs' in x ? printProgram(x) : printGraph(x));

function read(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    throw new UserError(`${file} cannot be read (${(cause as NodeJS.ErrnoException).code}). Give a file with IR text, or '-' for standard input.`, undefined, { cause });
  }
}
