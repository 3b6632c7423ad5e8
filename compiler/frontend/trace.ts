/**
 * From a model to a graph: `forward` is run once on tensors that record what is done to them.
 *
 * Before that, the attributes of the model are walked, which names its modules and parameters; while it runs, each
 * module's `forward` notes the module's path, so every node knows the part of the model that it belongs to.
 */
import { withTracer } from '../dsl/context.ts';
import type { Tracer } from '../dsl/context.ts';
import type { Model } from '../dsl/model.ts';
import type { Module, NamedParameter } from '../dsl/module.ts';
import { parts } from '../dsl/module.ts';
import type { AnyParameter } from '../dsl/parameter.ts';
import { generatedKind } from '../dsl/sequence.ts';
import type { AnySequence } from '../dsl/sequence.ts';
import { Tensor } from '../dsl/tensor.ts';
import { authorError, callSite } from '../dsl/where.ts';
import { GraphBuilder } from '../ir/builder.ts';
import { UserError } from '../ir/errors.ts';
import type { Graph, Node } from '../ir/graph.ts';
import { tensorType } from '../ir/types.ts';
import { MaskTable } from './mask-table.ts';

export interface TraceOptions {
  /** The graph's name; the model's class by default. */
  readonly name?: string;
  /** Which rows of the logits are wanted: the last row of the text (default), which generation needs, or every row. */
  readonly rows?: 'last' | 'all';
}

export interface Traced {
  /** Everything that `forward` says, what nobody reads included. Its weights are all parameters of the model. */
  readonly graph: Graph;
  /** What each module gave, by module path ('' is the model itself). Of several calls, the last. */
  readonly values: ReadonlyMap<string, Node>;
  /** What each module was given, by module path: its arguments that are tensors, in order. */
  readonly arguments: ReadonlyMap<string, readonly Node[]>;
  readonly parameters: readonly NamedParameter[];
}

/** Traces a model. Every fault in the author's code is a UserError that names file, line and column. */
export function trace(model: Model, options: TraceOptions = {}): Traced {
  const { modules, parameters } = parts(model);
  const builder = new GraphBuilder(options.name ?? model.constructor.name);
  const tracer = new ModelTracer(builder, parameters);
  const values = new Map<string, Node>(), given = new Map<string, readonly Node[]>();
  const restore = [...modules].map(([path, module]) => hook(module, path, tracer, values, given));
  try {
    withTracer(tracer, () => {
      const inputs = Object.fromEntries(Object.entries(model.inputs).map(([name, input]) => [name, input.declare(name, builder)]));
      addOutput(builder, model.forward(inputs as never), options.rows ?? 'last');
    });
  } catch (e) {
    throw authorError(e);
  } finally {
    restore.forEach((f) => f());
  }
  return { graph: builder.finish(), values, arguments: given, parameters };
}

class ModelTracer implements Tracer {
  private readonly leaves = new Map<AnyParameter, Node>();
  private readonly masks: MaskTable;
  constructor(readonly builder: GraphBuilder, parameters: readonly NamedParameter[]) {
    this.masks = new MaskTable(builder);
    for (const p of parameters) this.leaves.set(p.parameter, builder.weight(p.name, tensorType('f32', undefined, p.view)));
  }
  weight(parameter: AnyParameter): Node {
    const leaf = this.leaves.get(parameter);
    if (!leaf) throw new UserError(`A parameter of [${parameter.shape.join(', ')}] is used that stands at no attribute of the model, so it has no name in the checkpoint. Assign it, or the layer that holds it, to an attribute of its module.`, callSite());
    return leaf;
  }
  sequence(sequence: AnySequence): void {
    const { sequences } = this.builder, known = sequences.get(sequence.name);
    if (known === sequence.ir) return;
    if (known) throw new UserError(`Two sequences of this model are named '${sequence.name}'. Give one of them another name.`, callSite());
    for (const s of sequences.values()) {
      const shared = s.kinds.find((k) => sequence.kinds.includes(k.name));
      if (shared) throw new UserError(`The sequences '${s.name}' and '${sequence.name}' of this model both have a kind '${shared.name}'. Rows are told apart by their kind; name one of them otherwise.`, callSite());
    }
    this.builder.sequence(sequence.ir);
  }
  mask(mask: Parameters<Tracer['mask']>[0]): string { return this.masks.declare(mask); }
}

/** Makes the module's `forward` note path, arguments and result. Returns what undoes it. */
function hook(module: Module, path: string, { builder }: ModelTracer, values: Map<string, Node>, given: Map<string, readonly Node[]>): () => void {
  const own = Object.getOwnPropertyDescriptor(module, 'forward');
  const forward = module.forward as (...inputs: unknown[]) => unknown;
  Object.defineProperty(module, 'forward', {
    configurable: true,
    value(...inputs: unknown[]): unknown {
      const caller = builder.path;
      builder.path = path;
      const result = forward.apply(module, inputs);
      builder.path = caller;
      if (result === undefined) throw new UserError(`${path || 'The model'} (${module.constructor.name}): its forward() returns nothing. Return the tensor that it computes.`, callSite());
      given.set(path, inputs.flatMap((x) => (x instanceof Tensor ? [x.node] : [])));
      if (result instanceof Tensor) values.set(path, result.node);
      return result;
    },
  });
  return () => { if (own) Object.defineProperty(module, 'forward', own); else Reflect.deleteProperty(module, 'forward'); };
}

/** The model's result: `logits`, of the rows that are wanted, or a tower's `features`. */
function addOutput(builder: GraphBuilder, result: unknown, rows: 'last' | 'all'): void {
  if (!(result instanceof Tensor)) throw new UserError(`The model's forward() must return one tensor, the logits or features, but returns ${Array.isArray(result) ? 'an array' : `a value of type ${typeof result}`}.`);
  const node: Node = result.node, generates = node.type.rows!.kinds.includes(generatedKind);
  builder.where = node.where;
  builder.output(generates ? 'logits' : 'features', generates && rows === 'last' ? builder.op('rows', [node], { rows: `${generatedKind}.last` }) : node);
}
