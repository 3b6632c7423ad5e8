/**
 * `bundle.json`: everything a loader needs to know of a bundle, as data. The compiler writes it, the runtime reads
 * it, and both check it against this schema. `docs/bundle.schema.json` is made from it (`npm run schema`).
 */
import * as v from 'valibot';

/** The version this runtime reads. A change that an older loader would misread raises it. */
export const schemaVersion = 3;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const name = v.pipe(v.string(), v.minLength(1));
const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'a sha256 in hex was expected'));
/** A file inside the bundle's folder: no absolute path, no `..`. */
const file = v.pipe(v.string(), v.regex(/^(?!.*(^|\/)\.\.?(\/|$))[A-Za-z0-9_][A-Za-z0-9_./-]*$/, 'a path inside the bundle was expected'));

/** A polynomial in the dims, as text: `12*V^2 + 3*T*V + 5`. Integer coefficients. */
const polynomial = v.pipe(v.string(), v.regex(/^[-+*^/0-9A-Za-z_ ]+$/, 'a polynomial such as "2*V + T" was expected'));
/** A number, or ⌈polynomial / by⌉. */
const grid = v.union([count, v.strictObject({ ceil: polynomial, by: v.pipe(v.number(), v.integer(), v.minValue(1)) })]);

const size = v.pipe(v.number(), v.integer(), v.minValue(1));
/** How a picture of any size becomes pictures of the tower's size: the rules of runtime/tiling. */
const tiling = v.variant('rule', [
  /** An overview and tiles, whose rows are gathered to the rows of one image. */
  v.strictObject({
    rule: v.literal('any_resolution'), tile_size: size, patches_per_side: size, image_grid_pinpoints: v.pipe(v.array(v.tuple([size, size])), v.minLength(1)), max_tiles: v.optional(size),
    /** A picture is cut only where it is the prompt's one image. */
    alone: v.boolean(),
    /** Most tiles of an image, the overview among them. */
    most: size,
  }),
  /** A grid of tiles and the whole picture in one, each an image of its own with marks in the text before it. */
  v.strictObject({
    rule: v.literal('tile_grid'), tile_size: size, do_resize: v.boolean(), longest_edge: size, do_image_splitting: v.boolean(), fake_image_token: name, global_image_token: name,
  }),
  /** A picture in its own shape, or its quarters and the whole, each an image of its own between marks. */
  v.strictObject({
    rule: v.literal('native_resolution'), patch_size: size, patches_per_side: size, do_resize: v.boolean(), shortest_edge: size, longest_edge: size, do_image_splitting: v.boolean(), fake_image_token: name,
    /** Most patches of a picture. */
    most: size,
  }),
]);

const fileEntry = v.strictObject({ file, bytes: count, sha256 });

/** A weight file: the SHA-256 of each `pieceBytes` of it, the last of them shorter, so that a loader checks each piece as it reads it. */
const weightFile = v.strictObject({ file, bytes: count, pieceBytes: size, pieces: v.array(sha256) });

const kind = v.strictObject({
  name,
  /** Media rows come in images; text rows are asked and generated. */
  media: v.boolean(),
  /** The dim that counts new rows of this kind; absent where the number is fixed. `C` + dim counts those in the cache too. */
  dim: v.optional(name),
  /** Most rows of this kind that a session can hold; their number, where it is fixed. */
  capacity: count,
});
const sequence = v.strictObject({ name, kinds: v.array(kind) });

/** How the rows of a weight lie (docs/bundle.md has the bits): plain numbers, or words of codes with their scales behind them. */
const weightFormat = v.variant('kind', [
  v.strictObject({ kind: v.picklist(['f32', 'f16', 'int8']) }),
  /** `group`: elements of a row that share a scale; `symmetric`: without an offset of their own. */
  v.strictObject({ kind: v.literal('int4'), group: v.picklist([32, 64, 128]), symmetric: v.boolean() }),
]);

/** How the rows of a state are held (docs/bundle.md has the bits): as numbers, or as codes with a scale for each of a row's heads. */
const stateFormat = v.variant('kind', [v.strictObject({ kind: v.picklist(['f32', 'f16']) }), v.strictObject({ kind: v.literal('int8'), heads: size })]);

/** How a buffer comes to be. */
const buffer = v.variant('kind', [
  /** Tensors of the weight files one after the other, at byte offsets, in one format. */
  v.strictObject({ kind: v.literal('weight'), bytes: count, format: weightFormat, parts: v.array(v.strictObject({ tensor: name, offset: count, bytes: count })) }),
  /** Rotary angles: cos and sin of position × frequency, f32 `[positions, frequencies, 2]`. */
  v.strictObject({ kind: v.literal('rope'), bytes: count, positions: count, frequencies: v.array(v.number()) }),
  /** Values within one step; they share the buffer as their lifetimes allow. */
  v.strictObject({ kind: v.literal('arena'), bytes: count }),
  /** What outlives a step: KV cache and visual memory. Row slots of each kind begin at the sum of the capacities before it. */
  v.strictObject({ kind: v.literal('state'), bytes: count, rowBytes: count, sequence: name, kinds: v.array(name), /** f32 if absent. */ format: v.optional(stateFormat) }),
  /** Written by the caller before a step. */
  v.strictObject({ kind: v.literal('input'), bytes: count, source: v.picklist(['pixels', 'patches', 'positions', 'ids', 'values', 'row_map', 'row_weights', 'rows', 'spans', 'draw', 'dims']), sequence: v.optional(name), input: v.optional(name) }),
]);

/** An attention as its kernels were made, so that its blocks can be counted for any prompt. */
const attention = v.strictObject({
  mask: name, queryKinds: v.array(name), keyKinds: v.array(name),
  heads: count, kvHeads: count, headDim: count, valueDim: count,
  /** Row strides of queries, keys, values and results. */
  strides: v.tuple([count, count, count, count]),
  queryRows: polynomial,
  /** Row of the row data that belongs to the first query. */
  rowData: polynomial,
  relative: v.boolean(),
  schedule: v.record(v.string(), v.union([v.number(), v.boolean(), v.string()])),
});

const dispatch = v.strictObject({
  label: v.string(),
  /** Module path of the author's model. */
  path: v.string(),
  kernel: name,
  /** One entry a binding of the kernel, in order: a range of a buffer. */
  bind: v.array(v.strictObject({ buffer: name, offset: count, bytes: count })),
  /** Rows that the dispatch computes, by kind. */
  rows: v.record(v.string(), polynomial),
  /** FLOPs of the graph behind this dispatch, 2 per multiply-add; of an attention as if every key were read. */
  flops: polynomial,
  /** Bytes that it moves at least: weights, operands and results once each. */
  bytes: v.optional(polynomial),
  attention: v.optional(attention),
  /** Another kernel over the same bindings, for steps in which the dispatch computes at most so many rows. */
  few: v.optional(v.strictObject({ rows: size, kernel: name })),
});

const entry = v.strictObject({
  dispatches: v.array(dispatch),
  /** Run after them where the next token is drawn: they take the output `next` from the likeliest token to the one that the input `draw` asks for. */
  sampling: v.optional(v.array(dispatch)),
  /** Where the results lie after the step. */
  outputs: v.record(v.string(), v.strictObject({ buffer: name, offset: count, row: polynomial, rows: polynomial, width: count, dtype: v.picklist(['f32', 'f16', 'i32']) })),
});

const kernel = v.strictObject({
  file,
  sha256,
  family: name,
  features: v.array(v.string()),
  bindings: v.array(v.picklist(['read', 'read_write', 'uniform'])),
  grid: v.tuple([grid, grid, grid]),
  /** FLOPs that are executed for every started `unit` of rows, padding of ragged tiles included. */
  work: v.optional(v.strictObject({ rows: polynomial, unit: count, flops: count })),
});

/** What a program asks of a device besides features: limits above WebGPU's defaults, sizes of subgroups, shapes of subgroup matrices. */
const needs = v.strictObject({
  limits: v.optional(v.record(name, count)),
  /** Subgroups of the device must be of sizes from `min` to `max`. */
  subgroups: v.optional(v.strictObject({ min: size, max: size })),
  subgroupMatrix: v.optional(v.array(v.strictObject({ M: size, N: size, K: size, component: name, result: name }))),
});

/** One complete program for one class of device, or for an adapter. The runtime takes the closest whose needs the device meets. */
const target = v.strictObject({
  name,
  features: v.array(v.string()),
  /** `software` for adapters that run on the CPU. */
  device: v.picklist(['any', 'gpu', 'software']),
  /** The adapter whose measured schedules these are, as `GPUAdapterInfo` names it; absent where they are the defaults of the class. */
  adapter: v.optional(v.strictObject({ vendor: v.string(), architecture: v.string(), device: v.string(), description: v.string() })),
  needs: v.optional(needs),
  /** Fields of the dims uniform, u32 each, in order. */
  dims: v.array(name),
  buffers: v.record(v.string(), buffer),
  kernels: v.record(v.string(), kernel),
  /** `tile`: once a tile of an image, before `vision`, where images are several pictures to a tower. */
  entries: v.record(v.picklist(['tile', 'vision', 'first', 'prefill', 'decode']), entry),
});

export const manifestSchema = v.strictObject({
  schema: v.literal(schemaVersion),
  generator: v.string(),
  model: v.strictObject({
    name: v.string(),
    type: v.string(),
    variant: v.string(),
    /** Of weight matrices that are not quantised. */
    dtype: v.picklist(['f32', 'f16']),
    /** The format asked for, as in `int4:group=32`; absent where nothing is quantised. */
    quantised: v.optional(name),
    /** Of keys and values in the cache, where it is not f32. */
    kv: v.optional(v.picklist(['f16', 'int8'])),
    mask: v.record(v.string(), v.string()),
  }),
  /** The sequence of the prompt, then those of the towers. */
  sequences: v.array(sequence),
  /** How images enter the prompt; absent for text-only models. */
  /** `lookahead`: earlier rows may read later images, so a new image invalidates what came before it. */
  media: v.optional(v.strictObject({
    kind: name,
    lookahead: v.boolean(),
    /** What the caller gives for one image: pixels `[channels, height, width]`, patches of pixels `[width]`, or values of rows `[width]` as they are. */
    input: v.strictObject({ source: v.picklist(['pixels', 'patches', 'values']), shape: v.array(count) }),
    /** Rows of every image; absent where the caller's values, or the picture's size, say how many. */
    rowsPerImage: v.optional(count),
    /** How pictures are cut; absent where each is resized to the input's shape. */
    tiling: v.optional(tiling),
    /** What stands for one row of an image in a prompt's text. */
    imageToken: v.optional(v.strictObject({ text: name, id: count })),
  })),
  vocabulary: count,
  stopTokens: v.array(count),
  weights: v.array(weightFile),
  /** Tokenizer, chat template, preprocessing and generation defaults, as the checkpoint has them. */
  files: v.array(fileEntry),
  targets: v.array(target),
});

export type Manifest = v.InferOutput<typeof manifestSchema>;
export type Tiling = v.InferOutput<typeof tiling>;
export type Target = v.InferOutput<typeof target>;
export type BufferDecl = v.InferOutput<typeof buffer>;
export type Dispatch = v.InferOutput<typeof dispatch>;
export type Entry = v.InferOutput<typeof entry>;
export type AttentionDecl = v.InferOutput<typeof attention>;
export type KernelDecl = v.InferOutput<typeof kernel>;
export type GridDecl = v.InferOutput<typeof grid>;
export type EntryName = 'tile' | 'vision' | 'first' | 'prefill' | 'decode';
