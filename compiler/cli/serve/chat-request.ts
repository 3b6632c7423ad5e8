/** OpenAI's chat-completion request as far as it is served: checked, its pictures decoded, its parts in our own words. */
import * as v from 'valibot';
import type { ChatMessage, ContentPart } from '../../../runtime/chat.ts';
import { RuntimeError } from '../../../runtime/errors.ts';

const text = v.strictObject({ type: v.literal('text'), text: v.string() });
const picture = v.object({ type: v.literal('image_url'), image_url: v.union([v.string(), v.object({ url: v.string() })]) });
const message = v.object({
  role: v.picklist(['system', 'developer', 'user', 'assistant']),
  content: v.union([v.string(), v.array(v.variant('type', [text, picture]))]),
});
const whole = (from: number, to: number) => v.pipe(v.number(), v.integer(), v.minValue(from), v.maxValue(to));
const nothing = v.nullish(v.union([v.literal(false), v.pipe(v.array(v.unknown()), v.length(0))]));

/** What is not named here is left unread, as by OpenAI; what would change the answer and is not served is refused. */
const schema = v.object({
  model: v.nullish(v.string()),
  messages: v.pipe(v.array(message), v.minLength(1), v.maxLength(1000)),
  max_tokens: v.nullish(whole(1, 1e6)),
  max_completion_tokens: v.nullish(whole(1, 1e6)),
  temperature: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(2))),
  top_p: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
  top_k: v.nullish(whole(0, 1e6)),
  seed: v.nullish(whole(0, Number.MAX_SAFE_INTEGER)),
  stop: v.nullish(v.union([v.string(), v.pipe(v.array(v.string()), v.maxLength(4))])),
  stream: v.nullish(v.boolean()),
  stream_options: v.nullish(v.object({ include_usage: v.nullish(v.boolean()) })),
  n: v.nullish(v.literal(1, 'one answer a request is served')),
  tools: v.optional(nothing, null), functions: v.optional(nothing, null), logprobs: v.optional(nothing, null),
  response_format: v.nullish(v.object({ type: v.literal('text', 'text alone is served') })),
});

export interface ChatRequest {
  readonly messages: readonly ChatMessage[];
  /** The bytes of every picture, in the order of the messages' parts. */
  readonly pictures: readonly Uint8Array[];
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly seed?: number;
  readonly stop: readonly string[];
  readonly stream: boolean;
  readonly usage: boolean;
}

/**
 * @param maxImages most pictures of one request
 * @throws RuntimeError `value` for a request that is none, asks for what is not served, or names a picture by anything but
 *   a data URL: nothing that a client sends is ever fetched.
 */
export function readChatRequest(body: unknown, maxImages: number): ChatRequest {
  const parsed = v.safeParse(schema, body, { abortEarly: true });
  if (!parsed.success) {
    const [issue] = parsed.issues, where = v.getDotPath(issue);
    throw new RuntimeError('value', `${where ? `'${where}' of the request` : 'The request'}: ${issue.message}.`);
  }
  const r = parsed.output, pictures: Uint8Array[] = [];
  const part = (p: v.InferOutput<typeof text> | v.InferOutput<typeof picture>): ContentPart => {
    if (p.type === 'text') return p;
    if (pictures.length === maxImages) throw new RuntimeError('value', `The request has more than ${maxImages} picture(s), the most that this server takes. Send fewer, or start it with a larger --max-images.`);
    pictures.push(readDataUrl(typeof p.image_url === 'string' ? p.image_url : p.image_url.url));
    return { type: 'image' };
  };
  const messages = r.messages.map((m): ChatMessage => ({ role: m.role === 'developer' ? 'system' : m.role, content: typeof m.content === 'string' ? m.content : m.content.map(part) }));
  return {
    messages, pictures, stream: r.stream ?? false, usage: r.stream_options?.include_usage ?? false,
    stop: (typeof r.stop === 'string' ? [r.stop] : r.stop ?? []).filter((s) => s !== ''),
    ...given({ maxTokens: r.max_completion_tokens ?? r.max_tokens, temperature: r.temperature, topP: r.top_p, topK: r.top_k, seed: r.seed }),
  };
}

/** The numbers that were sent; null stands for none. */
const given = <K extends string>(numbers: Readonly<Record<K, number | null | undefined>>): Partial<Record<K, number>> =>
  Object.fromEntries(Object.entries(numbers).filter(([, x]) => typeof x === 'number')) as Partial<Record<K, number>>;

function readDataUrl(url: string): Uint8Array {
  const [, data] = /^data:image\/[\w.+-]+;base64,([A-Za-z0-9+/=\s]+)$/.exec(url) ?? [];
  if (data === undefined) throw new RuntimeError('value', `A picture is given as ${JSON.stringify(url.length > 40 ? `${url.slice(0, 40)}…` : url)}; a data URL (data:image/png;base64,…) was expected. This server fetches nothing.`);
  return Buffer.from(data, 'base64');
}
