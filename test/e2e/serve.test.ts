/** `eemllm serve` over HTTP, with the trained shapes model: answers, streams, leaving clients, and its end. */
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BundleFolder } from '../support/shapes.ts';
import { root, shapesFolder, shapesLines } from '../support/shapes-lines.ts';

const lines = shapesLines(), bundles = new BundleFolder();
let server: ChildProcess, url = '', ended: Promise<number | null>;

async function start(args: readonly string[]): Promise<void> {
  server = spawn(process.execPath, [join(root, 'bin/eemllm.js'), 'serve', ...args, '--port', '0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  ended = new Promise((done) => server.once('exit', done));
  url = await new Promise((done, fail) => {
    let out = '';
    for (const s of [server.stdout!, server.stderr!]) s.on('data', (d: Buffer) => {
      out += d.toString();
      const [, found] = /(http:\/\/\S+)\/v1\n/.exec(out) ?? [];
      if (found) done(found);
    });
    void ended.then((code) => fail(new Error(`The server ended with ${code}: ${out}`)));
  });
}
beforeAll(async () => { await start([await bundles.shapes('composite'), '--max-body', '3000000']); });
afterAll(async () => { server.kill('SIGKILL'); await ended; bundles.remove(); });

const pictureOf = (image: string): string => `data:image/png;base64,${readFileSync(join(shapesFolder, image)).toString('base64')}`;
const body = (line: (typeof lines)[number], more: object = {}, image = pictureOf(line.image)) =>
  ({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: image } }, { type: 'text', text: line.question }] }], ...more });
const post = (json: unknown, signal?: AbortSignal): Promise<Response> => fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(json), ...(signal ? { signal } : {}) });
interface Completion { choices: { message: { content: string }; finish_reason: string }[]; usage: { completion_tokens: number } }

test('questions asked at once are answered each as on the command line', async () => {
  const some = lines.slice(0, 8), answers = await Promise.all(some.map(async (l) => (await post(body(l))).json() as Promise<Completion>));
  expect(answers.map((a) => a.choices[0]!.message.content)).toEqual(some.map((l) => l.composite.text));
  expect(answers.map((a) => a.usage.completion_tokens)).toEqual(some.map((l) => l.composite.tokens.length));
  expect(new Set(answers.map((a) => a.choices[0]!.finish_reason))).toEqual(new Set(['stop']));
});

test('a stream says the same, piece by piece', async () => {
  const text = await (await post(body(lines[0]!, { stream: true }))).text();
  const pieces = [...text.matchAll(/"content":"((?:[^"\\]|\\.)*)"/g)].map((m) => JSON.parse(`"${m[1]!}"`) as string);
  expect(pieces.join('')).toBe(lines[0]!.composite.text);
  expect(pieces.length).toBeGreaterThan(3);
  expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true);
});

test('clients that leave do not hold up the next one', async () => {
  const leaving = Array.from({ length: 6 }, async (_, i) => {
    const gone = new AbortController();
    setTimeout(() => gone.abort(), 5 + 10 * i);
    return post(body(lines[i]!, { stream: i % 2 === 0 }), gone.signal).then(async (r) => r.text()).catch((e: Error) => e.name);
  });
  await Promise.all(leaving);
  const { choices } = (await (await post(body(lines[1]!))).json()) as Completion;
  expect(choices[0]!.message.content).toBe(lines[1]!.composite.text);
  expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ status: 'ok', waiting: 0 });
});

test('what cannot be answered is told in a sentence, and the server goes on', async () => {
  const cases: [unknown, number, RegExp][] = [
    [body(lines[0]!, {}, 'data:image/png;base64,AAAA'), 400, /Picture 1 of the request cannot be decoded/],
    [body(lines[0]!, {}, 'http://127.0.0.1:1/x.png'), 400, /fetches nothing/],
    [{ messages: [{ role: 'user', content: 'word '.repeat(3000) }] }, 400, /at most 256/],
    [{ messages: [{ role: 'user', content: 'x'.repeat(3_000_001) }] }, 413, /larger than/],
  ];
  for (const [json, status, sentence] of cases) {
    const response = await post(json);
    expect([response.status, ((await response.json()) as { error: { message: string } }).error.message]).toEqual([status, expect.stringMatching(sentence)]);
  }
  expect(((await (await post(body(lines[0]!))).json()) as Completion).choices[0]!.message.content).toBe(lines[0]!.composite.text);
});

test('it listens on this machine alone, and ends in order when told to', async () => {
  expect(new URL(url).hostname).toBe('127.0.0.1');
  const last = post(body(lines[2]!));
  await new Promise((r) => setTimeout(r, 50));
  server.kill('SIGTERM');
  expect(((await (await last).json()) as Completion).choices[0]!.message.content).toBe(lines[2]!.composite.text);
  expect(await ended).toBe(0);
});
