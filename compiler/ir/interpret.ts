import type { Graph } from './graph.ts';
import type { Weights } from './session.ts';
import { Session } from './session.ts';
import type { StepOptions, StepResult } from './step.ts';

/** Runs a graph once, from a new state. Throws a UserError for inputs, weights or a layout that do not fit. */
export const interpret = (g: Graph, options: StepOptions & { readonly weights: Weights }): StepResult => new Session(options.weights).extend(g, options);
