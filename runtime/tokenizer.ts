/** Text to token ids and back, by a checkpoint's `tokenizer.json`, through Hugging Face's own JavaScript tokenizers. */
import { Tokenizer as Library } from '@huggingface/tokenizers';
import { RuntimeError, reasonOf } from './errors.ts';

export interface EncodeOptions {
  /** Add what the post-processor adds, a beginning token as a rule. True unless said otherwise. */
  readonly addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leave out `<s>`, `</s>`, `<image>` and their like. True unless said otherwise. */
  readonly skipSpecialTokens?: boolean;
}

type Json = Record<string, unknown>;

/** Keys of `tokenizer_config.json` that name one token. A file may hold the text, or an object with the text as `content`. */
const NAMED = ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'cls_token', 'sep_token', 'mask_token'] as const;

export class Tokenizer {
  private readonly library: Library;
  private readonly named: Partial<Record<(typeof NAMED)[number], string>> = {};
  /** Ids that `skipSpecialTokens` leaves out. */
  readonly specialIds: ReadonlySet<number>;
  /** Number of ids that have a token. The model's vocabulary may be larger: its last rows are padding. */
  readonly size: number;
  /** transformers' `clean_up_tokenization_spaces`: "a dog ." becomes "a dog.". Off unless the config says otherwise. */
  readonly cleanUpSpaces: boolean;

  /**
   * @param json parsed `tokenizer.json`
   * @param config parsed `tokenizer_config.json`, where there is one
   * @throws RuntimeError `tokenizer` when a part of the file is missing or of a kind that the library lacks
   */
  constructor(json: unknown, config: unknown = {}, label = 'tokenizer.json') {
    if (!isRecord(json) || !isRecord(json.model)) throw new RuntimeError('tokenizer', `${label} has no "model"; it is not a tokenizer.json of the Hugging Face tokenizers. Fetch the file again.`);
    const settings: Json = { ...(isRecord(config) ? config : {}) };
    for (const key of NAMED) {
      const text = textOf(settings[key]);
      if (text !== undefined) settings[key] = this.named[key] = text;
    }
    // The library takes the unknown token of word-level models from the config alone, Rust from the model.
    if (settings.unk_token === undefined && typeof json.model.unk_token === 'string') settings.unk_token = json.model.unk_token;
    this.cleanUpSpaces = settings.clean_up_tokenization_spaces === true;
    try {
      // Older files leave out parts that newer ones set to null.
      const parts = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [], ...json };
      this.library = new Library(parts, settings);
    } catch (cause) {
      throw new RuntimeError('tokenizer', `${label} cannot be used: ${reasonOf(cause)}. Fetch the file again; if it is whole, this tokenizer is of a kind that @huggingface/tokenizers does not know.`, { cause });
    }
    mendByteFallback(this.library.decoder);
    const added = [...this.library.get_added_tokens_decoder().values()];
    this.specialIds = new Set(added.filter((t) => t.special).map((t) => t.id));
    this.size = this.library.get_vocab().size;
  }

  /**
   * Ids of a text.
   * @throws RuntimeError `tokenizer` when the vocabulary has no way to write a part of it
   */
  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    const { ids, tokens } = this.library.encode(text, { add_special_tokens: addSpecialTokens });
    const lost = (ids as (number | undefined)[]).findIndex((id) => id === undefined || id === null);
    if (lost >= 0) throw new RuntimeError('tokenizer', `This model's vocabulary has no token for ${JSON.stringify(tokens[lost])} and none for unknown text. Leave it out, or write it in other words.`);
    return ids;
  }

  /** The text of ids. Ids without a token (padding of the vocabulary) are left out, as Rust's tokenizers leave them out. */
  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    return this.decodeRaw(ids, options, this.cleanUpSpaces);
  }

  /** A decoder that gives the text of ids as they come. */
  stream(options: DecodeOptions = {}): StreamDecoder {
    return new StreamDecoder((ids) => this.decodeRaw(ids, options, false), this.cleanUpSpaces);
  }

  /** Id of a token's exact text, such as `<image>`. */
  idOf(token: string): number | undefined {
    return this.library.token_to_id(token);
  }

  /** A token's exact text as the vocabulary has it. */
  tokenOf(id: number): string | undefined {
    return this.library.id_to_token(id);
  }

  /** Text of a token that the config names (`bos_token`, `eos_token`, …). */
  token(key: (typeof NAMED)[number]): string | undefined {
    return this.named[key];
  }

  private decodeRaw(ids: readonly number[], { skipSpecialTokens = true }: DecodeOptions, cleanUp: boolean): string {
    // Skipping by id here, not by text in the library, keeps a word that merely looks like a special token.
    const known = ids.filter((id) => this.library.id_to_token(id) !== undefined && !(skipSpecialTokens && this.specialIds.has(id)));
    // The library refuses an empty list.
    if (known.length === 0) return '';
    return this.library.decode(known, { clean_up_tokenization_spaces: cleanUp });
  }
}

/**
 * The library (0.2.0) decodes a run of byte tokens leniently, one � for a broken character, and drops a byte order mark.
 * Rust's tokenizers, and so transformers, put one � for every byte of a run that is not UTF-8 as a whole.
 */
function mendByteFallback(decoder: unknown): void {
  // The library's parts are functions with properties.
  const part = decoder as { config: { type?: string }; decoders?: unknown[]; text_decoder?: { decode(bytes: Uint8Array): string } } | null;
  part?.decoders?.forEach(mendByteFallback);
  if (part?.config.type !== 'ByteFallback' || !part.text_decoder) return;
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  part.text_decoder = {
    decode(bytes) {
      try {
        return strict.decode(bytes);
      } catch {
        return '\ufffd'.repeat(bytes.length);
      }
    },
  };
}

/**
 * Text from ids that come one by one. A piece is held back while it ends within a character: with byte-level and
 * byte-fallback vocabularies one character may take several tokens. The pieces joined are `decode` of all ids, but for one
 * thing: characters that were given before a broken byte in the same run of byte tokens stay, where `decode` spoils them.
 */
export class StreamDecoder {
  /** Ids from the last piece that was given on; decoding from there keeps a step's cost independent of what came before. */
  private window: number[] = [];
  /** How many ids of the window have had their text given. */
  private given = 0;
  private raw = '';
  private cleaned = 0;

  constructor(private readonly decode: (ids: readonly number[]) => string, private readonly cleanUpSpaces: boolean) {}

  /** The text that this id completes; empty while a character is unfinished. */
  push(id: number): string {
    this.window.push(id);
    return this.clean(this.step(false), false);
  }

  /** What was held back. Call once, after the last id. */
  flush(): string {
    return this.clean(this.step(true), true);
  }

  private step(last: boolean): string {
    // Decoders treat the first token apart (a leading space goes, words are joined), so the difference of two decodings
    // that begin at the same token is the text of the tokens between them.
    const before = this.decode(this.window.slice(0, this.given));
    const now = this.decode(this.window);
    if (now.endsWith('\ufffd') && !last) return '';
    // A broken byte spoils its whole run (see `mendByteFallback`); what was given stays, the bytes after it are spoilt.
    const piece = now.startsWith(before) ? now.slice(before.length) : this.decode(this.window.slice(this.given));
    if (piece === '') return '';
    this.window = this.window.slice(this.given);
    this.given = this.window.length;
    return piece;
  }

  /** Applies the clean-up of spaces; text that it may still change is held back. */
  private clean(piece: string, last: boolean): string {
    if (!this.cleanUpSpaces) return piece;
    this.raw += piece;
    const text = cleanUp(this.raw);
    const end = last ? text.length : Math.max(this.cleaned, text.length - CLEAN_UP_REACH);
    const out = text.slice(this.cleaned, end);
    this.cleaned = end;
    return out;
  }
}

/** No rule of `cleanUp` reaches further back than this, one rule's result under another's included. */
const CLEAN_UP_REACH = 16;

/** transformers' `clean_up_tokenization`, in its order. */
function cleanUp(text: string): string {
  return text
    .replaceAll(' .', '.').replaceAll(' ?', '?').replaceAll(' !', '!').replaceAll(' ,', ',').replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't").replaceAll(" 'm", "'m").replaceAll(" 's", "'s").replaceAll(" 've", "'ve").replaceAll(" 're", "'re"); // prettier-ignore
}

function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return isRecord(value) && typeof value.content === 'string' ? value.content : undefined;
}
