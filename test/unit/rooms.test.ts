/** The rooms of design.md: which folder may import from which, and what the runtime must never need. */
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Project } from 'ts-morph';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const project = new Project({ skipAddingFilesFromTsConfig: true });
project.addSourceFilesAtPaths(['compiler', 'passes', 'runtime', 'models'].map((d) => join(root, d, '**/*.ts')));

/** Packages of ours by the name that authors import them by. */
const own: Readonly<Record<string, string>> = { eemllm: 'compiler/dsl/index.ts', 'eemllm/compiler': 'compiler/index.ts', 'eemllm/models': 'models/index.ts', 'eemllm/runtime': 'runtime/index.ts', 'eemllm/runtime/node': 'runtime/node.ts', 'eemllm/runtime/browser': 'runtime/browser.ts' };
interface Import { readonly from: string; readonly to: string; readonly line: number; readonly typeOnly: boolean }

/** Every import of a file, also `export … from` and `import(…)`. A file of ours by its path from the root, else the package. */
const imports: Import[] = project.getSourceFiles().flatMap((file) => {
  const from = relative(root, file.getFilePath());
  return file.getImportStringLiterals().map((literal): Import => {
    const name = literal.getLiteralText(), parent = literal.getParentOrThrow();
    const to = name.startsWith('.') ? relative(root, join(root, from, '..', name)) : own[name] ?? name;
    const typeOnly = 'isTypeOnly' in parent && (parent as { isTypeOnly(): boolean }).isTypeOnly();
    return { from, to, line: literal.getStartLineNumber(), typeOnly };
  });
});

/** The room of a file. What stands in compiler/ itself (the whole way through, loading a model) ties rooms together. */
const roomOf = (path: string): string | undefined => {
  const parts = path.split('/');
  if (path.startsWith('runtime/tiling/')) return 'runtime/tiling';
  if (parts[0] === 'compiler') return parts.length > 2 ? `compiler/${parts[1]}` : 'compiler';
  return ['passes', 'runtime', 'models'].includes(parts[0]!) ? parts[0] : undefined;
};

/** The table of design.md; a room may always import from itself. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  'compiler/ir': [],
  // Arithmetic that definitions and the runtime share: how pictures become tiles.
  'runtime/tiling': [],
  'compiler/dsl': ['compiler/ir', 'runtime/tiling'],
  'compiler/frontend': ['compiler/ir', 'compiler/dsl'],
  'compiler/cost': ['compiler/ir', 'compiler/schedule'],
  passes: ['compiler/ir', 'compiler/cost'],
  'compiler/schedule': ['compiler/ir'],
  'compiler/wgsl': ['compiler/ir', 'compiler/schedule'],
  // The manifest's types and the readers of files are the runtime's: a bundle is written as it will be read.
  'compiler/bundle': ['compiler/ir', 'compiler/cost', 'compiler/schedule', 'compiler/wgsl', 'runtime', 'runtime/tiling'],
  runtime: ['runtime/tiling'],
  'compiler/report': ['compiler/ir', 'compiler/cost', 'passes'],
  models: ['compiler/dsl', 'runtime/tiling'],
};
const tying = ['compiler', 'compiler/cli', 'compiler/verify'];
/** Facts, not code: the version of the package. */
const free = new Set(['compiler/version.ts']);

test('no room imports from a room that it may not know', () => {
  const wrong = imports.filter(({ from, to }) => {
    const here = roomOf(from)!, there = roomOf(to);
    return there !== undefined && there !== here && !tying.includes(here) && !free.has(to) && !mayImport[here]?.includes(there);
  });
  expect(wrong.map((i) => `${i.from}:${i.line} imports ${i.to}`)).toEqual([]);
});

test('every room is in the table', () => {
  expect([...new Set(imports.map((i) => roomOf(i.from)!))].filter((r) => !tying.includes(r) && !(r in mayImport))).toEqual([]);
  expect(imports.length).toBeGreaterThan(300);
});

test('the runtime is free of Node outside the files that say so', () => {
  const wrong = imports.filter(({ from, to }) => from.startsWith('runtime/') && !/^runtime\/node[-.]/.test(from) && (to.startsWith('node:') || ['sharp', 'webgpu', 'fs', 'path'].includes(to) || /^runtime\/node[-.]/.test(to)));
  expect(wrong.map((i) => `${i.from}:${i.line} imports ${i.to}`)).toEqual([]);
});

test('what turns graphs into kernels names no model', () => {
  const files = project.getSourceFiles().filter((f) => /^(passes|compiler\/(ir|schedule|wgsl|bundle))\//.test(relative(root, f.getFilePath())));
  const quoted = /(['"`])[^'"`\n]*(?:llava|llama(?!3)|vicuna|clip|siglip|qwen|ee-?mllm)[^'"`\n]*\1/i;
  const said = files.flatMap((f) => f.getFullText().split('\n').flatMap((line, i) => (quoted.test(line) && !/^\s*(\*|\/)/.test(line) && !line.includes('`eemllm') ? [`${relative(root, f.getFilePath())}:${i + 1} ${line.trim()}`] : [])));
  expect(said.filter((x) => !/eemllm \$\{version\}|`eemllm |eemllm\/runtime/.test(x))).toEqual([]);
});
