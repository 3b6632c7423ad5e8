/** ONNX models as protobuf, written field by field (onnx.proto3 of ONNX 1.17); weights are raw data inside. */
import protobuf from 'protobufjs/minimal.js';
import { toF16 } from '../../runtime/half.ts';
import type { Precision } from '../compare/cases.ts';

export type ElementType = Precision | 'i32' | 'i64';
/** TensorProto.DataType. */
const dataType: Readonly<Record<ElementType, number>> = { f32: 1, i32: 6, i64: 7, f16: 10 };
export interface Value { readonly name: string; readonly type: ElementType; readonly shape: readonly number[] }
type Attributes = Readonly<Record<string, number | readonly number[] | { readonly float: number }>>;

const message = (fill: (w: protobuf.Writer) => void): Uint8Array => {
  const w = protobuf.Writer.create();
  fill(w);
  return w.finish();
};
/** Tags: number of the field × 8 + wire type (0 varint, 2 length-delimited, 5 four bytes). */
const text = (w: protobuf.Writer, field: number, value: string): protobuf.Writer => w.uint32(field * 8 + 2).string(value);
const bytes = (w: protobuf.Writer, field: number, value: Uint8Array): protobuf.Writer => w.uint32(field * 8 + 2).bytes(value);
const integer = (w: protobuf.Writer, field: number, value: number): protobuf.Writer => w.uint32(field * 8).int64(value);

/** Numbers as f16 bits, or as they are. */
export const stored = (data: Float32Array, precision: Precision): Float32Array | Uint16Array => (precision === 'f16' ? Uint16Array.from(data, toF16) : data);

export class OnnxGraph {
  private readonly nodes: Uint8Array[] = [];
  private readonly initializers: Uint8Array[] = [];
  private names = 0;
  constructor(readonly precision: Precision) {}

  /** Weights in the graph's precision. */
  weight(data: Float32Array, shape: readonly number[]): string { return this.constant(stored(data, this.precision), shape, this.precision); }
  integers(data: readonly number[], shape: readonly number[], type: 'i32' | 'i64'): string {
    return this.constant(type === 'i64' ? BigInt64Array.from(data, BigInt) : Int32Array.from(data), shape, type);
  }

  private constant(data: Float32Array | Uint16Array | Int32Array | BigInt64Array, shape: readonly number[], type: ElementType): string {
    const name = `c${this.names++}`;
    this.initializers.push(message((w) => {
      for (const d of shape) integer(w, 1, d);
      integer(w, 2, dataType[type]);
      text(w, 8, name);
      bytes(w, 9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }));
    return name;
  }

  /** Adds a node and gives back its outputs' names; an empty input name leaves an optional input out. Ops of com.microsoft are written with their domain in front: `ms.GroupQueryAttention`. */
  op(type: string, inputs: readonly string[], attributes: Attributes = {}, outputs = 1): string[] {
    const [domain, op] = type.startsWith('ms.') ? ['com.microsoft', type.slice(3)] : ['', type], out = Array.from({ length: outputs }, () => `v${this.names++}`);
    this.nodes.push(message((w) => {
      for (const i of inputs) text(w, 1, i);
      for (const o of out) text(w, 2, o);
      text(w, 3, `n${this.names++}`);
      text(w, 4, op!);
      for (const [name, value] of Object.entries(attributes)) bytes(w, 5, message((a) => {
        text(a, 1, name);
        if (typeof value === 'number') integer(a, 3, value);
        else if ('float' in value) a.uint32(2 * 8 + 5).float(value.float);
        else for (const v of value) integer(a, 8, v);
        integer(a, 20, typeof value === 'number' ? 2 : 'float' in value ? 1 : 7);
      }));
      text(w, 7, domain!);
    }));
    return out;
  }

  /** The model's bytes. `outputs` gives the values of the graph that are its results new names. */
  model(inputs: readonly Value[], outputs: readonly (Value & { readonly from: string })[]): Uint8Array {
    for (const o of outputs) this.nodes.push(message((w) => { text(w, 1, o.from); text(w, 2, o.name); text(w, 3, `out ${o.name}`); text(w, 4, 'Identity'); }));
    const declare = (v: Value): Uint8Array => message((w) => {
      text(w, 1, v.name);
      bytes(w, 2, message((t) => bytes(t, 1, message((tensor) => {
        integer(tensor, 1, dataType[v.type]);
        bytes(tensor, 2, message((s) => { for (const d of v.shape) bytes(s, 1, message((x) => integer(x, 1, d))); }));
      }))));
    });
    const graph = message((w) => {
      for (const n of this.nodes) bytes(w, 1, n);
      text(w, 2, 'case');
      for (const i of this.initializers) bytes(w, 5, i);
      for (const i of inputs) bytes(w, 11, declare(i));
      for (const o of outputs) bytes(w, 12, declare(o));
    });
    return message((w) => {
      integer(w, 1, 10);
      text(w, 2, 'eemllm bench');
      bytes(w, 7, graph);
      for (const [domain, version] of [['', 21], ['com.microsoft', 1]] as const) bytes(w, 8, message((o) => { text(o, 1, domain); integer(o, 2, version); }));
    });
  }
}
