/**
 * `npm run published`: every published number beside what this compiler gives for it, with the source, the convention and how
 * far off it is. Exit code 1 if a row that claims to be reproduced lies outside its tolerance.
 */
import { Command } from 'commander';
import pc from 'picocolors';
import { printJson, table } from '../compiler/cli/output.ts';
import type { Result } from './published/all.ts';
import { checkAll } from './published/all.ts';
import type { Row } from './published/row.ts';

/** As many digits as can be compared: whole numbers whole, others to five that matter. */
const number = (x: number): string => (Number.isInteger(x) ? x.toLocaleString('en-US') : Math.abs(x) >= 1e5 ? x.toLocaleString('en-US', { maximumFractionDigits: 1 }) : String(Number(x.toPrecision(5))));
const tolerance = ({ tolerance: t }: Row): string => (t === 'exact' ? 'exact' : 'within' in t ? `±${t.within}` : `±${t.percent} %`);
function error({ row, ours }: Result): string {
  if (ours === undefined) return '';
  if (ours === row.published) return '0';
  if (row.published === 0) return number(ours);
  const percent = 100 * (ours / row.published - 1);
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toPrecision(2)} %`;
}

function print(results: readonly Result[], commands: boolean): void {
  for (const section of new Set(results.map((r) => r.section))) {
    const own = results.filter((r) => r.section === section);
    process.stdout.write(`${pc.bold(section.title)} (${section.source})\n${table(['check', 'published', 'ours', 'unit', 'error', 'tolerance', 'kind', 'convention', ''], own.map((r) => [
      r.row.check, number(r.row.published), r.ours === undefined ? '–' : number(r.ours), r.row.unit, error(r), tolerance(r.row), r.row.kind, r.row.convention ?? '', r.outcome === 'OK' ? pc.green('OK') : r.outcome === 'off' ? pc.red('OUT OF TOLERANCE') : pc.yellow('not reproduced'),
    ]))}\n`);
    for (const { row } of own) if (row.note !== undefined) process.stdout.write(pc.dim(`  ${row.check}: ${row.note}.\n`));
    for (const { row } of own) if (typeof row.ours !== 'function') process.stdout.write(`  ${row.check}: ${row.ours.why}\n`);
    if (commands) for (const { command } of own) if (command !== undefined) process.stdout.write(pc.dim(`  ${command}\n`));
    process.stdout.write('\n');
  }
  const count = (outcome: Result['outcome']): number => results.filter((r) => r.outcome === outcome).length;
  process.stdout.write(`${count('OK')} of ${results.length} rows are reproduced, ${count('not reproduced')} are not, for the reasons given; ${count('off')} are out of tolerance.\n`);
}

const asJson = ({ row, section, ours, command, outcome }: Result): unknown => ({
  section: section.title, source: section.source, check: row.check, published: row.published, ...(ours !== undefined && { ours, error: ours - row.published }), unit: row.unit,
  tolerance: row.tolerance, kind: row.kind, ...(row.convention !== undefined && { convention: row.convention }), outcome,
  ...(typeof row.ours !== 'function' && { why: row.ours.why }), ...(row.note !== undefined && { note: row.note }), ...(command !== undefined && { command }),
});

await new Command('published')
  .description('Published numbers beside ours: published, ours, error, source, convention.')
  .option('--json', 'print as JSON')
  .option('--commands', 'print the commands that show the numbers')
  .action(async ({ json, commands = false }: { json?: boolean; commands?: boolean }) => {
    const results = await checkAll();
    if (json) printJson(results.map(asJson)); else print(results, commands);
    if (results.some((r) => r.outcome === 'off')) process.exitCode = 1;
  })
  .parseAsync();
