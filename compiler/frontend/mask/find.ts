/** From a running function to its source: by the inspector's word, or by the call of mask() that it was given to. */
import type { SourceFile } from 'ts-morph';
import { Node } from 'ts-morph';
import type { SourcePos } from '../../ir/errors.ts';
import type { Inspector, RunningFunction } from './running.ts';
import { sourceFile } from './source.ts';
import type { FunctionNode } from './values.ts';

const isFunctionNode = (n: Node): n is FunctionNode =>
  Node.isArrowFunction(n) || Node.isFunctionDeclaration(n) || Node.isFunctionExpression(n) || Node.isMethodDeclaration(n);

/** The source of a running function, or undefined if it cannot be told. */
export const functionSource = (fn: RunningFunction, inspector: Inspector | undefined): FunctionNode | undefined => {
  const place = inspector?.locate(fn);
  const file = place && sourceFile(place.file);
  return file && functionAt(file, place);
};

const offsetOf = (file: SourceFile, { line, column }: SourcePos): number => {
  const starts = file.compilerNode.getLineStarts();
  return (starts[line - 1] ?? file.getEnd()) + column - 1;
};

/**
 * The function that begins at a place. Translators map a function's first character to its parameters, its name or the
 * word `function`: all of them stand in its head. So of all functions whose head holds the place, it is the innermost.
 */
const functionAt = (file: SourceFile, place: SourcePos): FunctionNode | undefined => {
  const offset = offsetOf(file, place);
  let best: FunctionNode | undefined;
  file.forEachDescendant((n) => {
    const body = isFunctionNode(n) ? n.getBody() : undefined;
    if (body && n.getStart() <= offset && offset < body.getStart() && (!best || n.getStart() >= best.getStart())) best = n as FunctionNode;
  });
  return best;
};

/** The predicate of the call `mask(sequence, predicate)` that stands at a place, or next to it: a stack trace may be a little off. */
export const maskCallAt = (where: SourcePos): Node | undefined => {
  const file = sourceFile(where.file);
  if (!file) return undefined;
  const offset = offsetOf(file, where);
  let best: { distance: number; predicate: Node } | undefined;
  file.forEachDescendant((n) => {
    if (!Node.isCallExpression(n) || !/(^|\.)mask$/.test(n.getExpression().getText())) return;
    const predicate = n.getArguments()[1];
    const distance = Math.abs(n.getStart() - offset);
    if (predicate && (!best || distance < best.distance)) best = { distance, predicate };
  });
  return best?.predicate;
};
