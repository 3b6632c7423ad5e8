/**
 * `eemllm serve` under OpenAI's own client: 16 clients at once send 200 requests, some of which they give up, some malformed,
 * one of 50 MB. Each ends in the right answer or the right error, and memory returns to where it was.
 */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI, { APIError, APIUserAbortError } from 'openai';
import type { ChatCompletionContentPart } from 'openai/resources/chat/completions';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BundleFolder } from '../support/shapes.ts';
import { root, shapesFolder, shapesLines } from '../support/shapes-lines.ts';

const bundles = new BundleFolder(), adapter = process.platform === 'linux' && process.arch === 'x64' ? 'swiftshader' : 'auto';
let server: ChildProcess, url = '', log = '', ended: Promise<number | null>;

beforeAll(async () => {
  server = spawn(process.execPath, [join(root, 'bin/eemllm.js'), 'serve', await bundles.shapes('composite'), '--adapter', adapter, '--port', '0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  ended = new Promise((done) => server.once('exit', done));
  url = await new Promise((done, fail) => {
    for (const s of [server.stdout!, server.stderr!]) s.on('data', (d: Buffer) => {
      log += d.toString();
      const [, found] = /(http:\/\/\S+)\/v1\n/.exec(log) ?? [];
      if (found) done(found);
    });
    void ended.then((code) => fail(new Error(`The server ended with ${code}: ${log}`)));
  });
});
afterAll(async () => { server.kill('SIGKILL'); await ended; bundles.remove(); });

/** Short answers, so that many fit into the time of a test. */
const lines = shapesLines().filter((l) => l.composite.tokens.length <= 4);
const picture = (image: string): ChatCompletionContentPart => ({ type: 'image_url', image_url: { url: `data:image/png;base64,${readFileSync(join(shapesFolder, image)).toString('base64')}` } });
const clientOf = (i: number): OpenAI => new OpenAI({ baseURL: `${url}/v1`, apiKey: `client ${i}`, maxRetries: 0 });
type Line = (typeof lines)[number];
const ask = (line: Line) => ({ model: 'shapes', max_tokens: 8, messages: [{ role: 'user' as const, content: [picture(line.image), { type: 'text' as const, text: line.question }] }] });
const post = (body: string, type = 'application/json'): Promise<Response> => fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': type }, body });
const text = (content: unknown) => JSON.stringify({ messages: [{ role: 'user', content }] });

async function answers(client: OpenAI, line: Line): Promise<void> {
  const { choices: [choice], usage, model } = await client.chat.completions.create(ask(line));
  expect([model, choice!.message.content, choice!.finish_reason, usage!.completion_tokens]).toEqual(['shapes', line.composite.text, 'stop', line.composite.tokens.length]);
}
async function streams(client: OpenAI, line: Line): Promise<void> {
  let said = '', finish: string | null = null, tokens = 0;
  for await (const chunk of await client.chat.completions.create({ ...ask(line), stream: true, stream_options: { include_usage: true } })) {
    said += chunk.choices[0]?.delta.content ?? '';
    finish = chunk.choices[0]?.finish_reason ?? finish;
    tokens = chunk.usage?.completion_tokens ?? tokens;
  }
  expect([said, finish, tokens]).toEqual([line.composite.text, 'stop', line.composite.tokens.length]);
}
/** Goes away after a moment: before its turn, while it is answered, or after. */
async function givesUp(client: OpenAI, line: Line, after: number): Promise<void> {
  const gone = new AbortController(), stream = after % 2 === 0;
  setTimeout(() => gone.abort(), after);
  try {
    const made = await client.chat.completions.create({ ...ask(line), stream }, { signal: gone.signal });
    if ('choices' in made) expect(made.choices[0]!.message.content).toBe(line.composite.text);
    else for await (const _ of made) { /* until it is cut off */ }
  } catch (e) {
    expect(e).toBeInstanceOf(APIUserAbortError);
  }
}
const data = (bytes: string): unknown[] => [{ type: 'image_url', image_url: { url: `data:image/png;base64,${bytes}` } }, { type: 'text', text: 'what ?' }];
const malformed: readonly (readonly [body: string, status: number, sentence: RegExp, type?: string])[] = [
  ['{"messages": [', 400, /is no JSON/],
  [text('x'), 400, /application\/json was expected/, 'text/plain'],
  [JSON.stringify({ messages: [{ role: 'robot', content: 'x' }] }), 400, /'messages\.0\.role'/],
  [text([{ type: 'image_url', image_url: { url: 'http://127.0.0.1:1/x.png' } }]), 400, /fetches nothing/],
  [text(data('AAAA')), 400, /Picture 1 of the request cannot be decoded as a picture \(it is no PNG, JPEG or WebP file\)/],
  [text(data(readFileSync(join(shapesFolder, lines[0]!.image)).subarray(0, 100).toString('base64'))), 400, /Picture 1 of the request cannot be decoded as a picture \(it is cut short/],
  [text('word '.repeat(3000)), 400, /at most 256/],
  [text('what is <image> ?'), 400, /1 image mark\(s\) '<image>', but 0 image\(s\) were given/],
  [text([...data(readFileSync(join(shapesFolder, lines[0]!.image)).toString('base64')), { type: 'text', text: '<image>' }]), 400, /2 image mark\(s\) '<image>', but 1 image\(s\) were given/],
  [text(Array.from({ length: 17 }, () => picture(lines[0]!.image))), 400, /more than 16 picture/],
  [text([...[...new Set(shapesLines().map((l) => l.image))].slice(0, 5).map(picture), { type: 'text', text: 'what ?' }]), 400, /needs 320 visual tokens, but this bundle was compiled for at most 256/],
  [JSON.stringify({ messages: [{ role: 'user', content: 'x' }], n: 2 }), 400, /'n'/],
];
async function isRefused(i: number): Promise<void> {
  const [body, status, sentence, type] = malformed[i % malformed.length]!, response = await post(body, type);
  expect([response.status, ((await response.json()) as { error: { message: string } }).error.message]).toEqual([status, expect.stringMatching(sentence)]);
}
async function isTooLarge(client: OpenAI): Promise<void> {
  const told = await client.chat.completions.create({ model: 'shapes', messages: [{ role: 'user', content: 'x'.repeat(50_000_000) }] }).then(() => undefined, (e: unknown) => e);
  expect(told).toBeInstanceOf(APIError);
  expect([(told as APIError).status, (told as APIError).message]).toEqual([413, expect.stringMatching(/larger than 33554432 bytes/)]);
}

/** `count` requests from 16 clients, each of which waits for its own answers. */
async function storm(count: number): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: 16 }, async (_, c) => {
    const client = clientOf(c);
    for (let i = next++; i < count; i = next++) {
      const line = lines[(7 * i) % lines.length]!, kind = i % 10;
      if (i === Math.floor(count / 2)) await isTooLarge(client);
      else if (kind < 4) await answers(client, line);
      else if (kind < 6) await streams(client, line);
      else if (kind < 8) await givesUp(client, line, (i * 13) % 400);
      else await isRefused(Math.floor(i / 10) + kind);
    }
  }));
}
/** Host memory is what the process keeps after some rest: collection takes its time. */
async function held(): Promise<{ buffers: number; bytes: number; host: number; waiting: number }> {
  const at = async (): Promise<{ buffers: number; bytes: number; host: number; waiting: number }> => {
    const metrics = await (await fetch(`${url}/metrics`)).text(), of = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)![1]);
    return { buffers: of('eemllm_device_buffers'), bytes: of('eemllm_device_bytes'), host: of('process_resident_memory_bytes'), waiting: of('eemllm_requests_waiting') };
  };
  let best = await at();
  for (let i = 0; i < 4; i++) {
    await new Promise((r) => setTimeout(r, 250));
    const now = await at();
    best = { ...now, host: Math.min(best.host, now.host) };
  }
  return best;
}

describe('one server', () => {
  test("the official client: models, an answer, a stream", async () => {
    const client = clientOf(0);
    expect((await client.models.list()).data.map((m) => m.id)).toEqual(['shapes']);
    expect((await client.models.retrieve('shapes')).object).toBe('model');
    await answers(client, lines[0]!);
    await streams(client, lines[1]!);
  });

  test('200 mixed requests of 16 clients at once', async () => {
    await storm(60); // caches, buffers for large requests, and compiled code are in place after these
    const before = await held();
    await storm(200);
    const after = await held();
    expect([after.buffers, after.bytes, after.waiting]).toEqual([before.buffers, before.bytes, 0]);
    console.log(`host memory of the server: ${Math.round(before.host / 1e6)} MB before 200 requests, ${Math.round(after.host / 1e6)} MB after`);
    expect(after.host).toBeLessThan(before.host + 60e6);
    await answers(clientOf(3), lines[2]!);
    expect(log).not.toMatch(/internal error/);
  });

  test('it ends in order when told to', async () => {
    const last = answers(clientOf(1), lines[0]!);
    await new Promise((r) => setTimeout(r, 50));
    server.kill('SIGTERM');
    await last;
    expect(await ended).toBe(0);
  });
});
