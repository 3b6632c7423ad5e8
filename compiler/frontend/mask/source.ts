/** The user's source files, parsed once a process, and errors that point into them. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Node, SourceFile } from 'ts-morph';
import { Project, ts } from 'ts-morph';
import type { SourcePos } from '../../ir/errors.ts';
import { UserError } from '../../ir/errors.ts';

/** Nothing but the files that masks are read from: no library, no node_modules, no type checking. */
let project: Project | undefined;
const options: ts.CompilerOptions = {
  allowJs: true, skipLibCheck: true, noResolve: true, allowImportingTsExtensions: true,
  module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, target: ts.ScriptTarget.ESNext,
};

/** The parsed file, or undefined if there is none. */
export const sourceFile = (file: string): SourceFile | undefined => {
  project ??= new Project({ skipAddingFilesFromTsConfig: true, skipFileDependencyResolution: true, skipLoadingLibFiles: true, compilerOptions: options });
  return project.getSourceFile(file) ?? (existsSync(file) ? project.addSourceFileAtPath(file) : undefined);
};

/** Forgets all parsed files: for watchers and tests that change them. */
export const forgetSources = (): void => { project = undefined; };

/** The file that an import names, or undefined if it is none of the author's own (a package's, a built-in module's). */
export const resolveImport = (specifier: string, from: SourceFile): SourceFile | undefined => {
  const { resolvedModule } = ts.resolveModuleName(specifier, from.getFilePath(), options, ts.sys);
  return resolvedModule && !resolvedModule.isExternalLibraryImport ? sourceFile(path.resolve(resolvedModule.resolvedFileName)) : undefined;
};

export const placeOf = (node: Node): SourcePos => {
  const { line, column } = node.getSourceFile().getLineAndColumnAtPos(node.getStart());
  return { file: node.getSourceFile().getFilePath(), line, column };
};

/** The line of the source with a caret under the column. */
export const frame = (file: SourceFile, { line, column }: SourcePos): string => {
  const text = file.getFullText().split(/\r?\n/)[line - 1] ?? '';
  const gutter = `  ${line} | `;
  // Tabs stay tabs in the second line, so that the caret stands where it should.
  return `${gutter}${text}\n${' '.repeat(gutter.length - 2)}| ${text.slice(0, column - 1).replace(/[^\t]/g, ' ')}^`;
};

/** What the mask language has, told whenever somebody writes something else. */
export const whatMasksCanSay = `A mask's predicate can use
  - kind, pos, index and image of its two tokens
  - whole numbers, names of kinds, true and false; constants: const, enum, parameters of mask(), values that a factory was called with
  - + - * %, Math.floor(a / b) with a constant b, Math.abs, Math.min, Math.max
  - == != < <= > >=, && || !, a ? b : c
  - const, if, else, switch and return
  - list.includes(x), list.every(f) and list.some(f) on constant lists
  - calls of other functions and masks of this sort, in this file or imported by a relative path`;

/** A UserError at a node of the author's source, which it shows. */
export class MaskError extends UserError {
  constructor(node: Node, message: string, hint = '', options?: ErrorOptions) {
    const place = placeOf(node);
    super(`${message}\n\n${frame(node.getSourceFile(), place)}${hint && `\n\n${hint}`}`, place, options);
  }
}

/** For what the language does not have. */
export const unsupported = (node: Node, message: string): never => { throw new MaskError(node, message, whatMasksCanSay); };

/** Runs `build`, and puts the place of `node` on a UserError that has none yet. */
export const at = <T>(node: Node, build: () => T): T => {
  try {
    return build();
  } catch (error) {
    throw error instanceof UserError && !error.where ? new MaskError(node, error.message) : error;
  }
};
