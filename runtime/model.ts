/** A bundle ready to answer: tokenizer, chat template and preprocessing around a session. */
import type { Bundle } from './bundle.ts';
import { chooseTarget, fittingTargets, readText } from './bundle.ts';
import type { ChatMessage } from './chat.ts';
import { ChatTemplate } from './chat.ts';
import type { ImageInput, PromptItem } from './context.ts';
import { isImage } from './context.ts';
import { RuntimeError } from './errors.ts';
import type { RawImage } from './image.ts';
import { quickestTarget } from './measure.ts';
import { checkPreprocessor, prepareImage } from './prepare.ts';
import type { Preprocessor } from './preprocessor-config.ts';
import { parsePreprocessor } from './preprocessor-config.ts';
import { Program } from './program.ts';
import type { Counters } from './counters.ts';
import { countersSince, newCounters } from './counters.ts';
import { checkAhead, tokensOf, usualAhead } from './generate.ts';
import { pictureImages, readMemory, writeMemory } from './memory-file.ts';
import { readRows, visualStates } from './memory-rows.ts';
import { promptItems } from './prompt.ts';
import type { SamplingOptions } from './sampling.ts';
import { Sampler } from './sampling.ts';
import { Session } from './session.ts';
import type { ByteSource } from './sources.ts';
import { bytesSource } from './sources.ts';
import { Tokenizer } from './tokenizer.ts';
import type { UploadProgress } from './weights.ts';
import { requireWeights, uploadWeights } from './weights.ts';

export interface LoadOptions {
  readonly onProgress?: (progress: UploadProgress) => void;
  /** True for an adapter that runs on the CPU: such programs have smaller tiles. Taken from the adapter by default. */
  readonly software?: boolean;
  /** See `SessionOptions.slice`. */
  readonly slice?: number;
  /** Time the programs of the bundle that the device can run, each for a moment, and take the quickest; by default the one measured closest to the adapter. */
  readonly measure?: boolean;
}
/** Milliseconds. Kernels are compiled while weights are read and uploaded, so the parts add up to more than the whole. */
export interface LoadTimings { readonly total: number; readonly read: number; readonly upload: number; readonly pipelines: number }

export interface GenerateOptions extends SamplingOptions {
  /** A conversation, put through the checkpoint's chat template. */
  readonly messages?: readonly ChatMessage[];
  /** Or a finished prompt, with the image mark where each image belongs. */
  readonly prompt?: string;
  readonly images?: readonly ImageInput[];
  /** Most tokens to generate; by default what the checkpoint says, else 256. */
  readonly maxTokens?: number;
  /** Ends the answer early, without an error: between two tokens, or between slices of a long prompt. */
  readonly signal?: AbortSignal;
  /** Steps that may run beyond the one whose token is awaited; 2 by default, 1 on software adapters. What ran too far is taken back. */
  readonly ahead?: number;
  /** Where tokens are drawn: on the device, in f32 (the default), or on the host, which waits for all logits of each token. */
  readonly drawOn?: 'device' | 'host';
}
export interface GeneratedToken {
  readonly token: number;
  /** The text that this token completes; may be empty, since a character may take several tokens. */
  readonly text: string;
}
/** Milliseconds of one answer: until the first token (`first`, which is `vision` for new pictures and `prefill`), and for all that follow. */
export interface AnswerTimings { first: number; vision: number; prefill: number; decode: number; tokens: number }
/** What the device did for an answer: until its first token was chosen, and after. */
export interface AnswerWork { prefill: Counters; decode: Counters; /** Text rows of the prompt that were not in the cache. */ text: number }

export class Model {
  /** Of the last answer. */
  readonly timings: AnswerTimings = { first: 0, vision: 0, prefill: 0, decode: 0, tokens: 0 };
  readonly work: AnswerWork = { prefill: newCounters(), decode: newCounters(), text: 0 };
  private busy: Promise<unknown> = Promise.resolve();

  private constructor(
    readonly bundle: Bundle,
    readonly program: Program,
    readonly session: Session,
    readonly tokenizer: Tokenizer,
    readonly chat: ChatTemplate,
    private readonly preprocessor: Preprocessor | undefined,
    private readonly defaults: { readonly max_new_tokens?: number },
    readonly loadTimings: LoadTimings,
  ) {}

  /**
   * Puts a bundle on a device.
   * @throws RuntimeError `bundle` for a bundle that is damaged or has no weights, `device` when the device cannot run it.
   */
  static async load(bundle: Bundle, device: GPUDevice, options: LoadOptions = {}): Promise<Model> {
    const info = device.adapterInfo as GPUAdapterInfo | undefined;
    const software = options.software ?? (info ? info.isFallbackAdapter || /llvmpipe|swiftshader|cpu/i.test(`${info.description} ${info.device} ${info.architecture}`) : false);
    // What a bundle may lack is asked first: pipelines and weights take their time.
    requireWeights(bundle);
    const json = async (file: string): Promise<Record<string, unknown> | undefined> => {
      const text = await readText(bundle, file);
      return text === undefined ? undefined : (JSON.parse(text) as Record<string, unknown>);
    };
    const tokenizerJson = await json('tokenizer.json');
    if (!tokenizerJson) throw new RuntimeError('bundle', `${bundle.label} has no tokenizer.json, so it cannot read a prompt. Compile it from a checkpoint folder that has one.`);
    const tokenizerConfig = await json('tokenizer_config.json');
    const processorConfig = await json('processor_config.json'), jinja = await readText(bundle, 'chat_template.jinja');
    const chat = ChatTemplate.from({
      tokenizerConfig, processorConfig, json: await json('chat_template.json'),
      ...(jinja === undefined ? {} : { jinja }), ...(bundle.manifest.media?.imageToken ? { imageToken: bundle.manifest.media.imageToken.text } : {}),
    });
    const tokenizer = new Tokenizer(tokenizerJson, tokenizerConfig), defaults = (await json('generation_config.json')) ?? {};
    // Newer releases of transformers keep the image processor's settings in the processor's file.
    const preprocessorJson = (await json('preprocessor_config.json')) ?? processorConfig?.['image_processor'], preprocessor = preprocessorJson === undefined ? undefined : parsePreprocessor(preprocessorJson);
    const { media } = bundle.manifest;
    if (preprocessor && media && media.input.source !== 'values') checkPreprocessor(preprocessor, media, bundle.label);
    const start = performance.now(), since = (): number => performance.now() - start;
    const features = new Set(device.features), closest = chooseTarget(bundle, features, software, device);
    const program = await Program.allocate(bundle, options.measure ? await quickestTarget(bundle, fittingTargets(bundle, features, software, device, true), device) : closest, device);
    try {
      let refused: unknown, pipelines = 0;
      const prepared = program.prepare().then(() => { pipelines = since(); }, (e: unknown) => { refused = e; });
      const uploaded = await uploadWeights(bundle, program, (p) => {
        // Nobody waits for gigabytes that no kernel will read.
        if (refused !== undefined) throw refused;
        options.onProgress?.(p);
      }).finally(() => prepared); // no device is closed while it compiles
      if (refused !== undefined) throw refused;
      const session = new Session(program, bundle.manifest, options.slice === undefined ? {} : { slice: options.slice });
      return new Model(bundle, program, session, tokenizer, chat, preprocessor, defaults, { total: since(), read: uploaded.files, upload: uploaded.device, pipelines });
    } catch (e) {
      program.destroy();
      throw e;
    }
  }

  /** Preprocesses a decoded picture as the checkpoint says, once; the same picture in later prompts costs nothing. */
  async image(raw: RawImage, label?: string): Promise<ImageInput> {
    const { media } = this.bundle.manifest;
    if (!media || media.input.source === 'values' || !this.preprocessor) throw new RuntimeError('value', `'${this.bundle.manifest.model.name}' reads text only.`);
    return prepareImage(raw, this.preprocessor, media, label);
  }

  /**
   * Answers, token by token. Calls queue: one answer at a time. Leaving the loop early, or aborting, frees the model.
   * @throws RuntimeError `value`, `limit`, `chat`, `sampling`, `device-lost`
   */
  async *generate(options: GenerateOptions): AsyncGenerator<GeneratedToken> {
    const release = await this.turn();
    try {
      yield* this.answer(options);
    } finally {
      release();
    }
  }

  /**
   * The visual memory of pictures as a file, in pieces: what the model computed of them, for `loadMemory` in a later run. A
   * picture that the memory does not hold is seen first.
   * @throws RuntimeError `value` where this model's images leave nothing that outlives a prompt, `limit`, `device-lost`
   */
  async *memoryFile(pictures: readonly ImageInput[]): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const release = await this.turn();
    try {
      const { session, program, bundle: { manifest } } = this, { images } = pictureImages(pictures), slots = await session.remember(images);
      const states = visualStates(program.target, manifest), slotOf = new Map(images.map((image, i) => [image.key, slots[i]!]));
      yield* writeMemory(manifest, states, pictures, (image) => readRows(program, states, slotOf.get(image.key)!, image.rows));
    } finally {
      release();
    }
  }

  /** `memoryFile` in one piece. */
  async saveMemory(pictures: ImageInput | readonly ImageInput[]): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for await (const piece of this.memoryFile('key' in pictures ? [pictures] : pictures)) pieces.push(piece);
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  }

  /**
   * The pictures of a saved memory, for prompts as if they came from `image`; nothing of them is computed again.
   * @param expected the pictures that the file should be of, where they are at hand
   * @throws RuntimeError `format` for a damaged file, `value` for one of another model, mask or picture, `file`
   */
  loadMemory(file: Uint8Array | ByteSource, expected?: readonly ImageInput[]): Promise<ImageInput[]> {
    return readMemory(file instanceof Uint8Array ? bytesSource(file, 'The visual memory') : file, this.bundle.manifest, this.program.target, expected);
  }

  /** Waits for the calls before; gives what ends this one. */
  private async turn(): Promise<() => void> {
    let release = (): void => undefined;
    const before = this.busy;
    this.busy = new Promise<void>((done) => { release = done; });
    await before;
    return release;
  }

  private async *answer(options: GenerateOptions): AsyncGenerator<GeneratedToken> {
    const { manifest } = this.bundle, { session, timings, work } = this, sampler = new Sampler(options), { signal } = options;
    const items = this.items(options), ahead = checkAhead(options.ahead ?? usualAhead[this.program.target.device === 'software' ? 'software' : 'gpu']);
    const asked = options.maxTokens ?? this.defaults.max_new_tokens ?? 256;
    if (!(Number.isInteger(asked) && asked > 0)) throw new RuntimeError('value', `maxTokens is ${asked}, and an integer from 1 up was expected.`);
    const room = manifest.sequences[0]!.kinds.find((k) => !k.media)!.capacity - items.filter((i) => !isImage(i)).length;
    const onHost = !sampler.greedy && (options.drawOn === 'host' || !session.steps.draws);
    const stream = this.tokenizer.stream({ skipSpecialTokens: true });
    const start = performance.now(), before = structuredClone(session.counters);
    Object.assign(timings, { first: 0, vision: 0, prefill: 0, decode: 0, tokens: 0 });
    try {
      if (!sampler.greedy && !onHost) await this.program.prepareSampling();
      await session.prefill(items, { draw: onHost ? undefined : sampler.draw(), signal });
    } catch (e) {
      if (signal?.aborted) return;
      throw e;
    }
    const prefilled = structuredClone(session.counters), vision = session.visionEnd;
    Object.assign(work, { prefill: countersSince(prefilled, before), text: session.last!.dims[manifest.sequences[0]!.kinds.find((k) => !k.media)!.dim!]! });
    try {
      for await (const token of tokensOf(session, { sampler, most: Math.max(1, Math.min(asked, room)), stops: manifest.stopTokens, ahead, onHost, signal })) {
        const now = performance.now();
        if (timings.tokens++ === 0) {
          timings.first = now - start;
          timings.vision = vision ? (await vision) - start : 0;
          timings.prefill = timings.first - timings.vision;
        }
        timings.decode = now - start - timings.first;
        const stop = manifest.stopTokens.includes(token);
        yield { token, text: stop ? stream.flush() : stream.push(token) };
        if (stop || signal?.aborted) return;
      }
    } finally {
      work.decode = countersSince(session.counters, prefilled);
    }
    const rest = stream.flush();
    if (rest) yield { token: -1, text: rest };
  }

  /**
   * The tokens and images that a conversation (or a finished prompt) is, as a session takes them.
   * @throws RuntimeError `value` when images and image marks differ in number; `chat` when the template refuses.
   */
  items({ messages, prompt, images = [] }: Pick<GenerateOptions, 'messages' | 'prompt' | 'images'>): PromptItem[] {
    if ((messages === undefined) === (prompt === undefined)) throw new RuntimeError('value', 'Give either messages or a prompt.');
    const text = prompt ?? this.chat.render(messages!);
    // A template may write the token that begins a text; the tokenizer must not add a second one.
    const bos = this.tokenizer.token('bos_token');
    return promptItems(this.bundle.manifest, this.tokenizer, text, images, bos === undefined || !text.startsWith(bos));
  }

  /** Frees everything that the model holds on the device. */
  destroy(): void {
    this.session.destroy();
    this.program.destroy();
  }
}
