/** What quantisation cost and saved, tensor by tensor, as it was seen while the weights were written. */
import type { Graph } from '../ir/graph.ts';
import type { PlainFormat } from '../ir/weight-format.ts';
import { formatOf, isQuantised, printWeightFormat, rowBytes } from '../ir/weight-format.ts';
import type { QuantisationError } from './quantise.ts';
import { addErrors } from './quantise.ts';

export interface QuantisedTensor {
  readonly tensor: string;
  /** As printed: `int4:group=32`. */
  readonly format: string;
  /** Bytes as stored, and as they would be in the compilation's own dtype. */
  readonly bytes: number;
  readonly plainBytes: number;
  /** √(Σ (stored − given)² / Σ given²); absent as long as the weights have not been written. */
  readonly relativeRms?: number;
  /** Largest |stored − given|, and the largest |given| beside it. */
  readonly worst?: number;
  readonly largest?: number;
}
export interface QuantisationReport {
  /** Largest relative error first. */
  readonly tensors: readonly QuantisedTensor[];
  /** Bytes of all weights of the bundle, the kept ones too, as stored and without quantisation. */
  readonly bytes: number;
  readonly plainBytes: number;
}

/** Collects errors while tensors are written, and makes the report of them. */
export class QuantisationLog {
  private readonly errors = new Map<string, QuantisationError>();
  readonly note = (tensor: string, error: QuantisationError): void => {
    const old = this.errors.get(tensor);
    this.errors.set(tensor, old ? addErrors(old, error) : error);
  };

  report(graphs: Iterable<Graph>, plain: PlainFormat): QuantisationReport {
    const weights = new Map([...graphs].flatMap((g) => [...g.weights])), tensors: QuantisedTensor[] = [];
    let bytes = 0, plainBytes = 0;
    for (const [tensor, n] of weights) {
      const { dims } = n.type, vector = dims.length < 2, rows = dims[0]!, columns = vector ? 1 : dims.slice(1).reduce((a, b) => a * b, 1), format = formatOf(n, plain);
      const own = { tensor, format: printWeightFormat(format), bytes: rows * rowBytes(format, columns), plainBytes: rows * rowBytes(vector ? format : plain, columns) };
      bytes += own.bytes;
      plainBytes += own.plainBytes;
      if (!isQuantised(format)) continue;
      const e = this.errors.get(tensor);
      tensors.push({ ...own, ...(e ? { relativeRms: e.squares > 0 ? Math.sqrt(e.squaredError / e.squares) : 0, worst: e.worst, largest: e.largest } : {}) });
    }
    return { tensors: tensors.sort((a, b) => (b.relativeRms ?? 0) - (a.relativeRms ?? 0)), bytes, plainBytes };
  }
}
