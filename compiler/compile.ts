/** The whole way: a traced model through the passes, staging and fusion to the content of a bundle. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Manifest, EntryName } from '../runtime/manifest.ts';
import { schemaVersion } from '../runtime/manifest.ts';
import { Tokenizer } from '../runtime/tokenizer.ts';
import type { Counts } from './ir/ops/def.ts';
import { pipeline, stagedPipeline } from '../passes/pipeline.ts';
import { UserError } from './ir/errors.ts';
import type { Graph } from './ir/graph.ts';
import { rewrite } from './ir/builder.ts';
import { printMaskExpr } from './ir/mask/print.ts';
import { readsFuture } from './ir/mask/prove.ts';
import { rowCount } from './ir/rows.ts';
import type { Checkpoint } from './bundle/checkpoint.ts';
import { readJson } from './bundle/checkpoint.ts';
import { packedTensor } from './bundle/pack-data.ts';
import { Packing } from './bundle/packing.ts';
import type { BuiltTarget } from './bundle/target.ts';
import { buildTarget, wantWeights } from './bundle/target.ts';
import { familiesFor, targetsFor } from './bundle/families.ts';
import type { BundleContent } from './bundle/write.ts';

export interface CompileOptions {
  readonly name: string;
  /** `model_type` of the checkpoint's config. */
  readonly type: string;
  readonly variant: string;
  readonly dtype: 'f32' | 'f16';
  /** Most image rows and text rows of a conversation. */
  readonly maxVisual?: number;
  readonly maxText?: number;
  readonly checkpoint?: Checkpoint;
  /** The checkpoint's own name of a parameter; missing ones are an error by then. */
  readonly checkpointName?: (name: string) => string;
  readonly imageTokenId?: number;
  readonly eosTokenIds?: readonly number[];
  /** Called after every pass with its name and the graph's text being asked for lazily. */
  readonly onPass?: (name: string, graph: Graph) => void;
}
export interface Compiled {
  readonly content: BundleContent;
  readonly entries: Readonly<Partial<Record<EntryName, Graph>>>;
  readonly targets: readonly BuiltTarget[];
}
