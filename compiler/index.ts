/** The compiler as a library (`eemllm/compiler`): a definition to a graph, to its cost, to a bundle. */
export type { CompileOptions, Compiled } from './compile.ts';
export { compile } from './compile.ts';
export { writeBundle } from './bundle/write.ts';
export type { Convention } from './cost/conventions.ts';
export { conventions } from './cost/conventions.ts';
export { trace } from './frontend/trace.ts';
export { loadModel, openModel } from './load-model.ts';
export { conventionNamed, costFormula, flops } from '../passes/flops.ts';
