/**
 * Staging: from one definition without a cache come the entry points `vision` (once an image), `prefill` (once a prompt)
 * and `decode` (once a token), the KV cache and the visual memory.
 *
 * Binding times say when each row is known (times.ts), the plan says which step computes it and what steps leave for
 * each other (stage/plan.ts), and the graphs are the plan's rows, cut out of the definition (stage/build.ts). A later turn
 * of a chat is another prefill: its attentions read the states, and in them the past. After Jones, Gomard and Sestoft,
 * Partial Evaluation and Automatic Program Generation (1993), chapter 4.
 */
import type { Graph, Node } from '../compiler/ir/graph.ts';
import { leafName } from '../compiler/ir/graph.ts';
import { hasText } from '../compiler/ir/layout.ts';
import type { Program } from '../compiler/ir/program.ts';
import { program } from '../compiler/ir/program.ts';
import type { RowSet, Sequence } from '../compiler/ir/rows.ts';
import { rowSet, sequenceKind } from '../compiler/ir/rows.ts';
import { Demand, rowsRead } from './row-demand.ts';
import type { Entry } from './stage/build.ts';
import { buildEntry } from './stage/build.ts';
import { nameStates } from './stage/names.ts';
import { StagePlan } from './stage/plan.ts';

export const entryNames = ['vision', 'prefill', 'decode'] as const;
export type EntryName = (typeof entryNames)[number];

/** A pass from one graph to the graphs of a program. */
export interface StagePass {
  readonly name: string;
  readonly proves: string;
  run(graph: Graph): Program;
}

export const stage: StagePass = {
  name: 'stage',
  proves: 'Each row is computed once, in the first step in which everything that it depends on is known, and every row that a later step reads is in a state.',
  run: (g) => {
    const plan = new StagePlan(g), names = nameStates(plan);
    const entries = [...(plan.hasVision ? [visionOf(plan)] : []), prefillOf(plan), ...decodeOf(plan)];
    return program(entries.map((e) => buildEntry(plan, names, e)));
  },
};

const visionOf = (plan: StagePlan): Entry => ({
  name: 'vision',
  rows: (n) => plan.vision.of(n),
  computes: (n, kind) => plan.isVision(n, kind) || !!plan.vision.of(n)?.kinds.includes(kind),
  within: (rows) => rows,
  outputs: plan.visionOutputs,
  time: (given) => given,
});

const prefillOf = (plan: StagePlan): Entry => ({
  name: 'prefill',
  rows: (n) => plan.prefill.of(n),
  computes: (n, kind) => !plan.isVision(n, kind),
  within: (rows) => rows,
  outputs: plan.prefillOutputs,
  time: (given) => given,
});

/**
 * What `vision` and `prefill` do about one image and the prompt that shows it, in one step: rows of both go through a layer
 * together, and its weights are read once. It leaves the same states. Undefined where the two share few weights, or where `prefill` takes the
 * image's rows through the layers itself: little or nothing would be gained, and a device would load another step's kernels.
 * @param staged the program that staging made of the same graph
 */
export function stageFirst(g: Graph, staged: Program): Graph | undefined {
  const vision = staged.graphs.get('vision'), prefill = staged.graphs.get('prefill');
  if (!vision || !prefill || prefill.nodes.some(computesMedia) || shared(vision, prefill) < worthAStep) return undefined;
  const plan = new StagePlan(g);
  if (plan.visionOutputs.size) return undefined; // somebody looks at what `vision` computes
  const both = new Demand();
  for (const n of [...g.nodes].reverse()) {
    both.add(n, plan.vision.of(n));
    both.add(n, plan.prefill.of(n));
    // Rows of both together may be more than either: all of the text where visual rows and the last text row meet.
    const out = both.of(n);
    if (out) n.inputs.forEach((x, i) => both.add(x, rowsRead(n, out, i, g)));
  }
  return buildEntry(plan, nameStates(plan), {
    name: 'first',
    rows: (n) => both.of(n),
    computes: (n, kind) => !!both.of(n)?.kinds.includes(kind),
    within: (rows) => rows,
    outputs: plan.prefillOutputs,
    time: (given) => given,
  });
}

/** The share of its matrices that prefill must have in common with vision for a step of both. */
const worthAStep = 1 / 4;
const shared = (vision: Graph, prefill: Graph): number => {
  const read = new Set(prefill.nodes.flatMap((n) => (n.op === 'linear' ? [n.inputs[1]!] : [])));
  const size = (matrices: Iterable<Node>): number => [...matrices].reduce((n, w) => n + w.type.dims[0]! * w.type.dims[1]!, 0);
  return size([...read].filter((w) => vision.weights.has(leafName(w)))) / size(read);
};
const computesMedia = ({ op, type: { rows } }: Node): boolean =>
  op !== 'rows' && !!rows && !rows.context && hasText(rows.sequence) && rows.kinds.some((k) => sequenceKind(rows.sequence, k).media);

/** Decode is prefill of one row: the new token. A graph that asks for no row of text generates nothing. */
function decodeOf(plan: StagePlan): Entry[] {
  const token = generated(plan);
  if (!token) return [];
  const within = (rows: RowSet): RowSet | undefined =>
    rows.sequence.name === token.sequence.name && rows.kinds.includes(token.kinds[0]!) ? token : undefined;
  return [{
    name: 'decode',
    rows: (n) => { const rows = plan.prefill.of(n); return rows && within(rows); },
    computes: (n, kind) => !plan.isVision(n, kind),
    within,
    outputs: plan.prefillOutputs,
    time: () => 'token',
  }];
}

/** The row of the token that is generated: of the text kind of which the outputs read the last row, or any row. */
function generated(plan: StagePlan): RowSet | undefined {
  const text = (n: Node): { sequence: Sequence; kind: string }[] => n.type.rows!.kinds
    .filter((k) => !sequenceKind(n.type.rows!.sequence, k).media).map((kind) => ({ sequence: n.type.rows!.sequence, kind }));
  const outputs = [...plan.prefillOutputs.values()];
  const found = outputs.filter((n) => n.type.rows!.last).flatMap(text)[0] ?? outputs.flatMap(text).at(-1);
  return found && rowSet(found.sequence, [found.kind], { last: true });
}
