/** The user's source files, parsed once a process, and errors that point into them. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Node, SourceFile } from 'ts-morph';
import { Project, ts } from 'ts-morph';
import type { SourcePos } from '../../ir/errors.ts';
import { sourceFrame, UserError } from '../../ir/errors.ts';

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

/**
 * The file that an import names, or undefined if it is another package's or Node's own. Files import each other by
 * relative paths, wherever they are installed; the models that come with the compiler count as the author's own.
 */
export const resolveImport = (specifier: string, from: SourceFile): SourceFile | undefined => {
  const own = specifier.startsWith('.') || specifier.startsWith('eemllm/');
  const { resolvedModule } = ts.resolveModuleName(specifier, from.getFilePath(), options, ts.sys);
  return resolvedModule && (own || !resolvedModule.isExternalLibraryImport) ? sourceFile(path.resolve(resolvedModule.resolvedFileName)) : undefined;
};

export const placeOf = (node: Node): SourcePos => {
  const { line, column } = node.getSourceFile().getLineAndColumnAtPos(node.getStart());
  return { file: node.getSourceFile().getFilePath(), line, column };
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

/** A UserError at a node of the author's source, which it shows; a hint stands below. */
export class MaskError extends UserError {
  constructor(node: Node, message: string, hint = '', options?: ErrorOptions) {
    const place = placeOf(node);
    super(message, place, { ...options, frame: sourceFrame(node.getSourceFile().getFullText(), place) + (hint && `\n\n${hint}`) });
  }
}

/** For what the language does not have. */
export const unsupported = (node: Node, message: string): never => { throw new MaskError(node, message, whatMasksCanSay); };

/** Runs `build`, and puts the place of `node` on a UserError that has none yet. */
export const at = <T>(node: Node, build: () => T): T => {
  try {
    return build();
  } catch (error) {
    throw error instanceof UserError && !error.where ? new MaskError(node, error.reason) : error;
  }
};
