/** The server without a device: requests, turns, stop strings, and the HTTP interface over a model that only counts. */
import { describe, expect, test } from 'vitest';
import type { ServedModel } from '../../compiler/cli/serve/answer.ts';
import { serveApp } from '../../compiler/cli/serve/app.ts';
import { readChatRequest } from '../../compiler/cli/serve/chat-request.ts';
import { FairQueue, QueueFull } from '../../compiler/cli/serve/queue.ts';
import { StopStrings } from '../../compiler/cli/serve/stop.ts';
import { RuntimeError } from '../../runtime/errors.ts';
import type { GenerateOptions } from '../../runtime/model.ts';

const ask = (content: unknown, more: object = {}): unknown => ({ messages: [{ role: 'user', content }], ...more });
const picture = (url: string) => ({ type: 'image_url', image_url: { url } });

describe('requests', () => {
  test('texts and pictures in order, options by their OpenAI names', () => {
    const r = readChatRequest(ask([picture('data:image/png;base64,AAEC'), { type: 'text', text: 'what ?' }], { max_tokens: 5, max_completion_tokens: 7, temperature: 0.5, top_p: null, seed: 3, stop: ['.', ''], stream: true, tools: [], user: 'x' }), 2);
    expect(r).toEqual({ messages: [{ role: 'user', content: [{ type: 'image' }, { type: 'text', text: 'what ?' }] }], pictures: [Buffer.from([0, 1, 2])], maxTokens: 7, temperature: 0.5, seed: 3, stop: ['.'], stream: true, usage: false });
  });
  const bad: [string, unknown, RegExp][] = [
    ['no object', 5, /^The request: /], ['no messages', {}, /'messages'/], ['an empty list', { messages: [] }, /'messages'/],
    ['an unknown role', { messages: [{ role: 'robot', content: '' }] }, /'messages\.0\.role'/],
    ['a web address', ask([picture('https://example.com/a.png')]), /data URL.*fetches nothing/], ['a file', ask([picture('file:///etc/passwd')]), /data URL/],
    ['too many pictures', ask([picture('data:image/png;base64,AA=='), picture('data:image/png;base64,AA=='), picture('data:image/png;base64,AA==')]), /more than 2 picture/],
    ['several answers', ask('x', { n: 2 }), /'n'.*one answer/], ['tools', ask('x', { tools: [{}] }), /'tools'/], ['a JSON mode', ask('x', { response_format: { type: 'json_object' } }), /'response_format/],
    ['half a token', ask('x', { max_tokens: 1.5 }), /'max_tokens'/], ['a negative temperature', ask('x', { temperature: -1 }), /'temperature'/],
  ];
  test.each(bad)('%s is refused', (_what, body, sentence) => {
    expect(() => readChatRequest(body, 2)).toThrow(RuntimeError);
    expect(() => readChatRequest(body, 2)).toThrow(sentence);
  });
});

describe('turns', () => {
  test('clients take turns; whoever gives up leaves its place; too many are sent away', async () => {
    const q = new FairQueue(4), order: string[] = [], leave = await q.enter('a');
    const enter = (client: string, name: string, signal?: AbortSignal) => q.enter(client, signal).then((done) => { order.push(name); done(); }, (e: Error) => { order.push(`${name} ${e.message}`); });
    const gone = new AbortController();
    const all = [enter('a', 'a2'), enter('a', 'a3'), enter('b', 'b1', gone.signal), enter('c', 'c1')];
    await expect(q.enter('d')).rejects.toBeInstanceOf(QueueFull);
    gone.abort(new Error('left'));
    expect(q.length).toBe(3);
    leave();
    leave();
    await Promise.all(all);
    expect(order).toEqual(['b1 left', 'a2', 'c1', 'a3']);
    expect(q.length).toBe(0);
    (await q.enter('e'))();
  });
});

test('a stop string ends the text wherever the pieces are cut', () => {
  for (let size = 1; size <= 9; size++) {
    const s = new StopStrings(['END', 'no more']);
    let out = '';
    for (const piece of 'an EN apple, E, END and so on'.match(new RegExp(`.{1,${size}}`, 'g'))!) out += s.push(piece);
    expect([out + s.flush(), s.stopped]).toEqual(['an EN apple, E, ', true]);
  }
  const open = new StopStrings(['END']);
  expect(open.push('the EN') + open.flush()).toBe('the EN');
});

/** Says `words` words, one a token, and notes when it is given up. */
function countingModel(words: number, failure?: Error): ServedModel & { given: number } {
  const model = {
    given: 0,
    timings: { first: 3, vision: 1, prefill: 2, decode: 4, tokens: 5 },
    bundle: { manifest: { model: { name: 'org/counter', type: 'test', variant: 'self' }, stopTokens: [99] } },
    items: () => [1, 2, 3],
    image: () => Promise.reject(new Error('unused')),
    async *generate({ maxTokens = 1000, signal }: GenerateOptions) {
      if (failure) throw failure;
      try {
        for (let i = 0; i < Math.min(words, maxTokens); i++) {
          await new Promise((r) => setTimeout(r, 1));
          yield { token: i, text: `w${i} ` };
          if (signal?.aborted) return;
        }
        if (words < maxTokens) yield { token: 99, text: '' };
      } finally { model.given++; }
    },
  };
  return model as unknown as ServedModel & { given: number };
}
const served = (model: ServedModel, more: object = {}) => serveApp(model, { maxBody: 2000, maxImages: 2, maxWaiting: 4, clientOf: () => '', signal: new AbortController().signal, ...more });
const post = (body: unknown, init: RequestInit = {}) => new Request('http://x/v1/chat/completions', { method: 'POST', headers: { 'content-type': 'application/json' }, body: typeof body === 'string' ? body : JSON.stringify(body), ...init });

describe('the HTTP interface', () => {
  test('an answer, its usage and why it ended', async () => {
    const app = served(countingModel(3));
    expect(await (await app.request(post(ask('x')))).json()).toMatchObject({ object: 'chat.completion', model: 'org/counter', choices: [{ message: { role: 'assistant', content: 'w0 w1 w2 ' }, finish_reason: 'stop' }], usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 } });
    expect(await (await app.request(post(ask('x', { max_tokens: 2 })))).json()).toMatchObject({ choices: [{ message: { content: 'w0 w1 ' }, finish_reason: 'length' }] });
    expect(await (await app.request(post(ask('x', { stop: '1' })))).json()).toMatchObject({ choices: [{ message: { content: 'w0 w' }, finish_reason: 'stop' }] });
  });
  test('the same as a stream', async () => {
    const response = await served(countingModel(3)).request(post(ask('x', { stream: true, stream_options: { include_usage: true } })));
    expect(response.headers.get('content-type')).toMatch('text/event-stream');
    const events = (await response.text()).split('\n\n').filter(Boolean).map((e) => e.replace('data: ', ''));
    expect(events.pop()).toBe('[DONE]');
    const chunks = events.map((e) => JSON.parse(e) as { choices: { delta: { content?: string }; finish_reason: string | null }[]; usage?: object });
    expect(chunks.flatMap((c) => c.choices.map((x) => x.delta.content ?? '')).join('')).toBe('w0 w1 w2 ');
    expect(chunks.at(-2)!.choices[0]!.finish_reason).toBe('stop');
    expect(chunks.at(-1)!.usage).toMatchObject({ completion_tokens: 4 });
  });
  test('a client that goes away frees the model, streaming or not', async () => {
    const model = countingModel(100_000), app = served(model);
    const response = await app.request(post(ask('x', { stream: true })));
    await response.body!.getReader().cancel();
    const gone = new AbortController(), waits = app.request(post(ask('x'), { signal: gone.signal }));
    setTimeout(() => gone.abort(), 20);
    expect((await waits).status).toBe(499);
    expect(await (await app.request(post(ask('x', { max_tokens: 1 })))).json()).toMatchObject({ usage: { completion_tokens: 1 } });
    expect(model.given).toBe(3);
  });
  test('errors carry a status, a sentence and no stack', async () => {
    const app = served(countingModel(1));
    const told = async (r: Request | string): Promise<[number, string]> => { const response = await app.request(r); return [response.status, ((await response.json()) as { error: { message: string } }).error.message]; };
    expect(await told(post('{'))).toEqual([400, expect.stringMatching(/^The request is no JSON/)]);
    expect(await told(post(ask('x'), { headers: { 'content-type': 'text/plain' } }))).toEqual([400, expect.stringMatching(/application\/json was expected/)]);
    expect(await told(post(ask('x'.repeat(3000))))).toEqual([413, expect.stringMatching(/larger than 2000 bytes/)]);
    expect(await told('/v1/models/other')).toEqual([404, expect.stringMatching(/no model 'other'/)]);
    expect(await told('/v2')).toEqual([404, expect.stringMatching(/nothing at GET \/v2/)]);
    expect((await app.request('/v1/models/org/counter')).status).toBe(200);
  });
  test('a lost device shows in health; metrics count', async () => {
    const app = served(countingModel(1, new RuntimeError('device-lost', 'The GPU device was lost.')));
    expect((await app.request('/health')).status).toBe(200);
    expect((await app.request(post(ask('x')))).status).toBe(503);
    expect((await app.request('/health')).status).toBe(503);
    expect(await (await app.request('/metrics')).text()).toMatch(/eemllm_requests_total\{status="503"\} 1/);
  });
});
