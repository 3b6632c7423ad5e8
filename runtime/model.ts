/** A bundle ready to answer: tokenizer, chat template and preprocessing around a session. */
import type { Bundle } from './bundle.ts';
import { chooseTarget, readText } from './bundle.ts';
import type { ChatMessage } from './chat.ts';
import { ChatTemplate } from './chat.ts';
import type { ImageInput, PromptItem } from './context.ts';
import { isImage } from './context.ts';
import { RuntimeError } from './errors.ts';
import type { RawImage } from './image.ts';
import { checkPreprocessor, prepareImage } from './prepare.ts';
import type { Preprocessor } from './preprocessor-config.ts';
import { parsePreprocessor } from './preprocessor-config.ts';
import { Program } from './program.ts';
import { promptItems } from './prompt.ts';
import type { SamplingOptions } from './sampling.ts';
import { Sampler } from './sampling.ts';
import { Session } from './session.ts';
import { Tokenizer } from './tokenizer.ts';
import type { UploadProgress } from './weights.ts';
import { requireWeights, uploadWeights } from './weights.ts';

export interface LoadOptions {
  readonly onProgress?: (progress: UploadProgress) => void;
  /** True for an adapter that runs on the CPU: such programs have smaller tiles. Taken from the adapter by default. */
  readonly software?: boolean;
}
export interface LoadTimings { readonly pipelines: number; readonly upload: number }

export interface GenerateOptions extends SamplingOptions {
  /** A conversation, put through the checkpoint's chat template. */
  readonly messages?: readonly ChatMessage[];
  /** Or a finished prompt, with the image mark where each image belongs. */
  readonly prompt?: string;
  readonly images?: readonly ImageInput[];
  /** Most tokens to generate; by default what the checkpoint says, else 256. */
  readonly maxTokens?: number;
  readonly signal?: AbortSignal;
}
export interface GeneratedToken {
  readonly token: number;
  /** The text that this token completes; may be empty, since a character may take several tokens. */
  readonly text: string;
}
/** Milliseconds of one answer: until the first token, and for all that follow. */
export interface AnswerTimings { prefill: number; decode: number; tokens: number }

export class Model {
  readonly timings: AnswerTimings = { prefill: 0, decode: 0, tokens: 0 };
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
    if (preprocessor && bundle.manifest.media?.input.source === 'pixels') checkPreprocessor(preprocessor, bundle.manifest.media, bundle.label);
    const start = performance.now();
    const program = await Program.create(bundle, chooseTarget(bundle, new Set(device.features), software), device);
    const made = performance.now();
    try {
      await uploadWeights(bundle, program, options.onProgress);
      const session = new Session(program, bundle.manifest);
      return new Model(bundle, program, session, tokenizer, chat, preprocessor, defaults, { pipelines: made - start, upload: performance.now() - made });
    } catch (e) {
      program.destroy();
      throw e;
    }
  }

  /** Preprocesses a decoded picture as the checkpoint says, once; the same picture in later prompts costs nothing. */
  async image(raw: RawImage, label?: string): Promise<ImageInput> {
    const { media } = this.bundle.manifest;
    if (media?.input.source !== 'pixels' || !this.preprocessor) throw new RuntimeError('value', `'${this.bundle.manifest.model.name}' reads text only.`);
    return prepareImage(raw, this.preprocessor, media, label);
  }

  /**
   * Answers, token by token. Calls queue: one answer at a time. Leaving the loop early, or aborting, frees the model.
   * @throws RuntimeError `value`, `limit`, `chat`, `sampling`, `device-lost`
   */
  async *generate(options: GenerateOptions): AsyncGenerator<GeneratedToken> {
    let release = (): void => undefined;
    const before = this.busy;
    this.busy = new Promise<void>((done) => { release = done; });
    await before;
    try {
      yield* this.answer(options);
    } finally {
      release();
    }
  }

  private async *answer(options: GenerateOptions): AsyncGenerator<GeneratedToken> {
    const { manifest } = this.bundle, { session } = this, sampler = new Sampler(options);
    const items = this.items(options);
    const asked = options.maxTokens ?? this.defaults.max_new_tokens ?? 256;
    if (!(Number.isInteger(asked) && asked > 0)) throw new RuntimeError('value', `maxTokens is ${asked}, and an integer from 1 up was expected.`);
    const room = manifest.sequences[0]!.kinds.find((k) => !k.media)!.capacity - items.filter((i) => !isImage(i)).length;
    const stream = this.tokenizer.stream({ skipSpecialTokens: true });
    const start = performance.now();
    let first = start;
    Object.assign(this.timings, { prefill: 0, decode: 0, tokens: 0 });
    session.prefill(items);
    for (let count = 1; ; count++) {
      const token = sampler.greedy ? await session.next() : sampler.next(await session.logits());
      const now = performance.now();
      if (count === 1) { first = now; this.timings.prefill = now - start; }
      this.timings.decode = now - first;
      this.timings.tokens = count;
      const stop = manifest.stopTokens.includes(token);
      yield { token, text: stop ? stream.flush() : stream.push(token) };
      if (stop || options.signal?.aborted) return;
      if (count >= Math.min(asked, room)) break;
      session.decode(token);
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
