/**
 * The visual memory of pictures as a file, which later runs read in place of the pictures. A safetensors file: of each image the
 * rows of every state, in the state's own format, then a tensor `sha256` over the hashes of all others. Its metadata says which
 * model, mask and pictures it belongs to, by hash; it is refused for any other.
 */
import { sha256 } from './bundle.ts';
import type { ImageInput } from './context.ts';
import { RuntimeError } from './errors.ts';
import type { Manifest, Target } from './manifest.ts';
import type { SavedRows, VisualState } from './memory-rows.ts';
import { visualStates } from './memory-rows.ts';
import { Safetensors } from './safetensors.ts';
import type { ByteSource } from './sources.ts';

const kind = 'eemllm visual memory 1';

/** A picture as it was saved: what stands for it in a prompt. */
interface SavedPicture {
  readonly key: string;
  readonly pieces: readonly (string | { readonly key: string; readonly rows: number })[];
  /** In prompts with so many pictures; absent where their number changes nothing. */
  readonly images?: number;
}
/** What a file must agree with the bundle on. All but `name` is compared. */
interface Identity { readonly name: string; readonly weights: string; readonly variant: string; readonly mask: string; readonly states: string }

const textHash = (text: string): Promise<string> => sha256(new TextEncoder().encode(text));

async function identityOf({ model, weights, media }: Manifest, states: readonly VisualState[]): Promise<Identity> {
  return {
    name: model.name, weights: await textHash(JSON.stringify(weights.map((w) => w.pieces))), variant: model.variant, mask: JSON.stringify(model.mask),
    states: await textHash(JSON.stringify([media, states.map(({ name, decl }) => [name, decl.rowBytes, decl.format ?? { kind: 'f32' }])])),
  };
}

/** What stands for the pictures of a prompt, and all images that this holds, each once. */
export function pictureImages(pictures: readonly ImageInput[]): { readonly pieces: readonly (readonly (string | ImageInput)[])[]; readonly images: readonly ImageInput[] } {
  const pieces = pictures.map((p) => p.inPrompt?.(pictures.length) ?? [p]);
  return { pieces, images: [...new Map(pieces.flat().filter((p) => typeof p !== 'string').map((i) => [i.key, i])).values()] };
}

/** Rows in the numbers of their format, for whoever looks into the file. */
function tensorOf({ decl: { rowBytes, format } }: VisualState, rows: number): { dtype: 'F32' | 'F16' | 'U32'; shape: number[] } {
  const dtype = format?.kind === 'int8' ? 'U32' : format?.kind === 'f16' ? 'F16' : 'F32';
  return { dtype, shape: [rows, rowBytes / (dtype === 'F16' ? 2 : 4)] };
}

/**
 * The file of some pictures, in pieces.
 * @param rowsOf the rows of an image, state by state, in the order of `states`
 */
export async function* writeMemory(manifest: Manifest, states: readonly VisualState[], pictures: readonly ImageInput[], rowsOf: (image: ImageInput) => AsyncIterable<readonly [VisualState, Uint8Array<ArrayBuffer>]>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { pieces, images } = pictureImages(pictures), { tiling } = manifest.media!;
  const saved = pictures.map((p, i): SavedPicture => ({
    key: p.key, pieces: pieces[i]!.map((x) => (typeof x === 'string' ? x : { key: x.key, rows: x.rows })), ...(tiling?.rule === 'any_resolution' && tiling.alone ? { images: pictures.length } : {}),
  }));
  const header: Record<string, unknown> = { __metadata__: { kind, ...await identityOf(manifest, states), pictures: JSON.stringify(saved) } };
  let at = 0;
  const place = (name: string, dtype: string, shape: readonly number[], bytes: number): void => { header[name] = { dtype, shape, data_offsets: [at, at += bytes] }; };
  images.forEach((image, i) => { for (const s of states) { const { dtype, shape } = tensorOf(s, image.rows); place(`${i}.${s.name}`, dtype, shape, image.rows * s.decl.rowBytes); } });
  place('sha256', 'U8', [32], 32);
  const json = JSON.stringify(header), text = new TextEncoder().encode(json + ' '.repeat((8 - (new TextEncoder().encode(json).length % 8)) % 8)), length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  yield length;
  yield text;
  let hashes = '';
  for (const image of images) for await (const [, bytes] of rowsOf(image)) { hashes += await sha256(bytes); yield bytes; }
  yield new Uint8Array((await textHash(hashes)).match(/../g)!.map((h) => parseInt(h, 16)));
}

/**
 * The pictures of a file, ready for prompts: their rows go to the device when a prompt first shows them.
 * @param expected the pictures that it should be of
 * @throws RuntimeError `format` for a file that is damaged or no visual memory, `value` for one of another model, mask or picture
 */
export async function readMemory(source: ByteSource, manifest: Manifest, target: Target, expected?: readonly ImageInput[]): Promise<ImageInput[]> {
  const file = await Safetensors.open(source), { metadata, label } = file, states = visualStates(target, manifest);
  const other = (what: string): RuntimeError => new RuntimeError('value', `${label} is of another ${what}. Save the memory anew with this bundle, under another name or in place of the old file.`);
  if (metadata['kind'] !== kind) throw new RuntimeError('format', `${label} holds no visual memory that this runtime reads (its kind is ${JSON.stringify(metadata['kind'] ?? 'not given')}, and '${kind}' was expected). Name a file that --memory or Model.saveMemory has made.`);
  const own = await identityOf(manifest, states), saved = metadata as unknown as Identity & { readonly pictures: string };
  if (saved.mask !== own.mask || saved.variant !== own.variant) throw other(`mask: it was saved under the variant '${saved.variant}' (${saved.mask}), and this bundle has '${own.variant}' (${own.mask})`);
  if (saved.weights !== own.weights) throw other(`model: it was saved by '${saved.name}', whose weights are not those of this bundle ('${own.name}')`);
  if (saved.states !== own.states) throw other(`compilation: its states are held in another format (--kv) or number than this bundle's`);
  const pictures = JSON.parse(saved.pictures) as SavedPicture[];
  if (expected && expected.map((p) => p.key).join() !== pictures.map((p) => p.key).join())
    throw other(pictures.length === expected.length ? 'picture than the one given' : `number of pictures: ${pictures.length} were saved, ${expected.length} are given`);
  const rows = new Map<string, SavedRows>(), keys = [...new Map(pictures.flatMap((p) => p.pieces).filter((p) => typeof p !== 'string').map((p) => [p.key, p])).values()];
  let hashes = '';
  for (const [i, { key }] of keys.entries()) {
    const held = new Map<string, Uint8Array>();
    for (const { name } of states) {
      const bytes = (await file.bytes(`${i}.${name}`)).slice();
      hashes += await sha256(bytes);
      held.set(name, bytes);
    }
    rows.set(key, held);
  }
  if (Array.from(await file.bytes('sha256'), (b) => b.toString(16).padStart(2, '0')).join('') !== await textHash(hashes))
    throw new RuntimeError('format', `${label} is damaged: its rows are not those that were saved. Save the memory anew.`);
  return pictures.map((p) => loadedPicture(p, rows, label));
}

const noData = new Float32Array(0);
function loadedPicture({ key, pieces, images }: SavedPicture, rows: ReadonlyMap<string, SavedRows>, label: string): ImageInput {
  const made = pieces.map((p) => (typeof p === 'string' ? p : { key: p.key, data: noData, rows: p.rows, memory: rows.get(p.key)! })), [only] = made;
  if (made.length === 1 && typeof only !== 'string' && only!.key === key && images === undefined) return only!;
  return {
    key, data: noData, rows: made.reduce((n, p) => n + (typeof p === 'string' ? 0 : p.rows), 0),
    inPrompt: (count) => {
      if (images !== undefined && (count === 1) !== (images === 1)) throw new RuntimeError('value', `${label} was saved for a prompt with ${images} picture(s), and this one has ${count}; the model cuts a picture that stands alone into tiles. Save the memory anew with as many pictures.`);
      return made;
    },
  };
}
