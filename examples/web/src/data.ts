/** `data.json`: what the compiler knows of the two programs, written by scripts/web-data.ts and read by the page. */
import type { MaskExpr } from '../../../compiler/ir/mask/expr.ts';

export type PairClass = 'empty' | 'full' | 'causal' | 'diagonal' | 'mixed';

export interface MaskFacts {
  readonly name: string;
  /** The predicate as the bundle's manifest prints it. */
  readonly text: string;
  readonly expr: MaskExpr;
  /** `pairs[queryKind][keyKind]`: what is proven of every such pair of tokens. */
  readonly pairs: Readonly<Record<string, Readonly<Record<string, PairClass>>>>;
}

/** What `eemllm flops --json` prints: FLOPs of a prompt before its first answer token. */
export interface Cost {
  readonly model: string;
  readonly visual: number;
  readonly text: number;
  readonly variants: readonly {
    readonly name: string;
    readonly parts: Readonly<Record<'vision' | 'projector' | 'decoder' | 'head', number>>;
    /** The decoder's part again: what is done for visual rows, for text rows, and for attention scores. */
    readonly decoder: Readonly<Record<'visual' | 'text' | 'scores', number>>;
    readonly total: number;
  }[];
}

export interface WebData {
  /** Masks of each program. */
  readonly masks: Readonly<Record<string, readonly MaskFacts[]>>;
  readonly cost: Cost;
  /** The same masks on a large model, for several prompts. */
  readonly large: readonly Cost[];
  readonly pictures: readonly PictureFacts[];
}

/** A picture that ships with the page, and questions that make sense for it. */
export interface PictureFacts { readonly file: string; readonly questions: readonly string[] }

export async function fetchData(): Promise<WebData> {
  const response = await fetch(new URL('data.json', document.baseURI));
  if (!response.ok) throw new Error(`data.json could not be fetched: the server answered ${response.status}. Run npm run web, or build the page anew with npm run web:build.`);
  return (await response.json()) as WebData;
}
