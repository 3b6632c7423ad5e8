/** A conversation to the text that the model was trained on, by the checkpoint's own chat template (Jinja). */
import { Template } from '@huggingface/jinja';
import { RuntimeError, reasonOf } from './errors.ts';
import type { Tokenizer } from './tokenizer.ts';

export type ContentPart = { readonly type: 'image' } | { readonly type: 'text'; readonly text: string };

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant' | (string & {});
  /** A text, or its parts in order; every `{ type: 'image' }` stands for one picture. */
  readonly content: string | readonly ContentPart[];
}

/** Where a checkpoint may keep its template. All parsed files are optional. */
export interface ChatFiles {
  /** Text of `chat_template.jinja`. */
  readonly jinja?: string;
  /** Parsed `chat_template.json`. */
  readonly json?: unknown;
  /** Parsed `processor_config.json`. */
  readonly processorConfig?: unknown;
  /** Parsed `tokenizer_config.json`. */
  readonly tokenizerConfig?: unknown;
  /** What stands for a picture in the prompt, `<image>` unless said otherwise. */
  readonly imageToken?: string;
}

export interface RenderOptions {
  /** End with what introduces the assistant's turn. True unless said otherwise. */
  readonly addGenerationPrompt?: boolean;
}

export class ChatTemplate {
  private readonly template: Template | undefined;
  private readonly takesParts: boolean;
  private readonly variables: Readonly<Record<string, unknown>>;

  private constructor(source: string | undefined, private readonly label: string, variables: Record<string, unknown>, private readonly imageToken: string) {
    this.variables = variables;
    if (source === undefined) {
      this.takesParts = false;
      return;
    }
    try {
      this.template = new Template(source);
    } catch (cause) {
      throw new RuntimeError('chat', `The chat template in ${label} cannot be read: ${reasonOf(cause)}. Mend the template, or remove it to prompt the model with plain text.`, { cause });
    }
    this.takesParts = this.wantsParts();
  }

  /**
   * The template of a checkpoint: `chat_template.jinja`, else `chat_template.json`, else the processor's or tokenizer's
   * config (where a list of named templates gives its `default`). Without any, messages become plain text.
   * @throws RuntimeError `chat` when the template is no valid Jinja
   */
  static from(files: ChatFiles): ChatTemplate {
    const config = isRecord(files.tokenizerConfig) ? files.tokenizerConfig : {};
    const found: [unknown, string][] = [
      [files.jinja, 'chat_template.jinja'],
      [member(files.json), 'chat_template.json'],
      [member(files.processorConfig), 'processor_config.json'],
      [member(config), 'tokenizer_config.json'],
    ];
    const [source, label] = found.find(([value]) => value !== undefined && value !== null) ?? [undefined, ''];
    const variables: Record<string, unknown> = {};
    for (const [key, value] of Object.entries(config)) {
      // Templates read bos_token, eos_token and their like as text.
      if (key.endsWith('_token')) variables[key] = isRecord(value) ? value.content : value;
    }
    return new ChatTemplate(source === undefined ? undefined : pick(source, label), label, variables, files.imageToken ?? '<image>');
  }

  /** True when the checkpoint has no template and messages are put down as plain text. */
  get isPlain(): boolean {
    return this.template === undefined;
  }

  /**
   * The prompt of a conversation, with one image token a picture.
   * @throws RuntimeError `chat` when there is no message, or the template refuses them (`raise_exception`)
   */
  render(messages: readonly ChatMessage[], { addGenerationPrompt = true }: RenderOptions = {}): string {
    if (messages.length === 0) throw new RuntimeError('chat', 'The conversation has no messages. Give at least one, such as { role: "user", content: "…" }.');
    if (!this.template) return messages.map((m) => flat(m.content, this.imageToken)).join('\n');
    const shaped = messages.map((m) => ({ ...m, content: this.takesParts ? parts(m.content) : flat(m.content, this.imageToken) }));
    try {
      return this.template.render({ ...this.variables, messages: shaped, add_generation_prompt: addGenerationPrompt });
    } catch (cause) {
      throw new RuntimeError('chat', `The chat template in ${this.label} refused the conversation: ${reasonOf(cause)}. Check the roles and their order.`, { cause });
    }
  }

  /**
   * Ids of a conversation. The beginning token is added unless the template has written it.
   * @throws RuntimeError as `render` and `Tokenizer.encode`
   */
  encode(tokenizer: Tokenizer, messages: readonly ChatMessage[], options?: RenderOptions): number[] {
    const text = this.render(messages, options);
    const bos = tokenizer.token('bos_token');
    return tokenizer.encode(text, { addSpecialTokens: bos === undefined || !text.startsWith(bos) });
  }

  /**
   * Templates of language models read `content` as text, those of processors as a list of parts, and nothing in the file
   * says which. So one message of each form is tried: where the list's text comes out clean, the template walks lists.
   */
  private wantsParts(): boolean {
    const probe = '\u0001probe\u0001';
    const text = (content: unknown): string => {
      try {
        return this.template!.render({ ...this.variables, messages: [{ role: 'user', content }], add_generation_prompt: true });
      } catch {
        return '';
      }
    };
    const asParts = text([{ type: 'text', text: probe }]);
    if (!asParts.includes(probe) || asParts.includes('[object') || /['"]?type['"]?\s*:/.test(asParts)) return false;
    // A template that takes both gets parts, so that it may place the pictures itself.
    return true;
  }
}

function parts(content: ChatMessage['content']): readonly ContentPart[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}

/** Content as one text: each picture is the image token on a line of its own, as LLaVA's prompts have it. */
function flat(content: ChatMessage['content'], imageToken: string): string {
  if (typeof content === 'string') return content;
  return content.map((part) => (part.type === 'image' ? `${imageToken}\n` : part.text)).join('');
}

/** One template out of a config's value: a text, or a list of `{ name, template }` of which `default` is meant. */
function pick(value: unknown, label: string): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) {
    const named = value.filter(isRecord);
    const chosen = named.find((t) => t.name === 'default') ?? (named.length === 1 ? named[0] : undefined);
    if (typeof chosen?.template === 'string') return chosen.template;
  }
  throw new RuntimeError('chat', `The chat template in ${label} is neither a text nor a list with a template named "default". Mend the file, or remove the template to prompt the model with plain text.`);
}

function member(json: unknown): unknown {
  return isRecord(json) ? json.chat_template : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
