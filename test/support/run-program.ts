/** A staged program run step by step, beside the definition run at once over everything said so far. */
import type { Graph, Program, Segment, StepResult } from '../../compiler/ir/index.ts';
import { Session, interpret } from '../../compiler/ir/index.ts';
import { readsFuture } from '../../compiler/ir/mask/prove.ts';
import type { Case } from './random-graphs.ts';
import type { Piece } from './run-case.ts';
import { piecesOf, stepOf } from './run-case.ts';

/** The sequence that the prompt fills, in random cases and in models. */
export const promptSequence = 'tokens';

/** Rows of an output by kind and position. */
function rowsByToken(result: StepResult, g: Graph, name: string): Map<string, Float32Array> {
  const t = result.outputs.get(name)!, tokens = result.tokens(g.outputs.get(name)!.type.rows!), width = t.data.length / Math.max(1, tokens.length);
  return new Map(tokens.map((x, i) => [`${x.kind}@${x.pos}`, Float32Array.from(t.data.subarray(i * width, (i + 1) * width))]));
}

/** True if some token may read an image that comes after it: then an image can only come before all that was said. */
export const looksAhead = (g: Graph): boolean => [...g.masks.values()].some((m) => {
  const kinds = m.sequence.kinds.map((k) => ({ name: k.name, hasImages: k.media }));
  return kinds.some((k) => k.hasImages && kinds.length > 1 && kinds.some((q) => readsFuture(m.expr, q.name, k.name, kinds)));
});

/** The first `n` tokens of a prompt; images are taken whole. */
function prefix(pieces: readonly Piece[], n: number): Piece[] {
  const out: Piece[] = [];
  for (const p of pieces) {
    if (n <= 0) break;
    out.push({ ...p, length: p.image === undefined ? Math.min(n, p.length) : p.length });
    n -= p.length;
  }
  return out;
}

const imagesOf = (pieces: readonly Segment[]): number[] => [...new Set(pieces.flatMap((p) => (p.image === undefined ? [] : [p.image])))];

/** Runs one case's steps on a session and measures how far its outputs lie from the definition's. */
export class StagedRun {
  worst = 0;
  private readonly session: Session;
  private readonly seen = new Set<number>();
  /** @param first vision and prefill as one step, for prompts whose images are all new */
  constructor(private readonly definition: Graph, private readonly program: Program, c: Case, private readonly first?: Graph) { this.session = new Session(c.weights); }

  /** Another question about the same images: the case's prompt begins anew. */
  begin(): void { this.session.begin(); }

  /** Says the prompt: `turns` are numbers of tokens after which a prefill ends; what is left over is decoded token by token. */
  say(c: Case, turns: readonly number[]): void {
    const pieces = Object.fromEntries(Object.entries(c.layout).map(([name, segments]) => [name, piecesOf(segments)]));
    const prompt = pieces[promptSequence]!, total = prompt.reduce((n, p) => n + p.length, 0);
    const ends = [...turns, ...Array.from({ length: Math.max(0, total - turns.at(-1)!) }, (_, i) => turns.at(-1)! + i + 1)];
    let before = 0;
    ends.forEach((end, i) => {
      const sofar = prefix(prompt, end), fresh = remove(sofar, before);
      before = sofar.reduce((n, p) => n + p.length, 0);
      const vision = this.program.graphs.get('vision'), shown = imagesOf(fresh);
      const first = i < turns.length && shown.length && !shown.some((image) => this.seen.has(image)) ? this.first : undefined;
      if (first) shown.forEach((image) => this.seen.add(image));
      for (const image of shown) {
        if (this.seen.has(image) || !vision) continue;
        this.seen.add(image);
        const own = Object.fromEntries(Object.entries(pieces).map(([name, all]) => [name, all.filter((p) => p.image === image)]));
        this.session.image(vision, stepOf(vision, c, own));
      }
      const g = first ?? this.program.graphs.get(i < turns.length ? 'prefill' : 'decode')!;
      const images = new Set(shown);
      const step = Object.fromEntries(Object.entries(pieces).map(([name, all]) => [name, name === promptSequence ? fresh : all.filter((p) => images.has(p.image!))]));
      this.compare(g, this.session.extend(g, stepOf(g, c, step)), c, pieces, sofar);
    });
  }

  private compare(g: Graph, got: StepResult, c: Case, pieces: Readonly<Record<string, readonly Piece[]>>, sofar: readonly Piece[]): void {
    const images = new Set(imagesOf(sofar));
    const whole = Object.fromEntries(Object.entries(pieces).map(([name, all]) => [name, name === promptSequence ? sofar : all.filter((p) => images.has(p.image!))]));
    const want = interpret(this.definition, { ...stepOf(this.definition, c, whole), weights: c.weights });
    for (const name of this.definition.outputs.keys()) {
      if (!g.outputs.has(name)) continue;
      const right = rowsByToken(want, this.definition, name), rows = rowsByToken(got, g, name);
      let scale = 1, worst = 0;
      for (const row of right.values()) for (const x of row) scale = Math.max(scale, Math.abs(x));
      for (const [token, row] of rows) {
        const r = right.get(token);
        row.forEach((x, i) => { const d = Math.abs(x - (r?.[i] ?? NaN)); worst = Number.isFinite(d) ? Math.max(worst, d) : Infinity; });
      }
      this.worst = Math.max(this.worst, worst / scale);
    }
  }
}

/** What is left of pieces after their first `n` tokens. */
function remove(pieces: readonly Piece[], n: number): Piece[] {
  return pieces.flatMap((p) => {
    const skip = Math.min(n, p.length);
    n -= skip;
    return p.length > skip || (!p.length && !n) ? [{ ...p, from: p.from + skip, length: p.length - skip }] : [];
  });
}
