import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesSource, fetchSource } from '../../../runtime/sources.ts';

const data = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
let server: Server;
let base: string;
let requests: string[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    const path = request.url!;
    requests.push(`${path} ${request.headers.range}`);
    if (path === '/missing') return void response.writeHead(404).end();
    if (path === '/whole') return void response.writeHead(200, { 'content-length': data.length }).end(data);
    if (path === '/broken') return void response.writeHead(200, { 'content-length': data.length }).write(data.subarray(0, 10), () => response.destroy());
    if (path === '/empty') return void response.writeHead(416, { 'content-range': 'bytes */0' }).end();
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range!)!;
    const piece = data.subarray(Number(first), Math.min(Number(last) + 1, data.length));
    const short = path === '/short' && Number(first) > 0;
    response.writeHead(206, path === '/unsized' ? {} : { 'content-range': `bytes ${first}-${last}/${data.length}` });
    response.end(short ? piece.subarray(0, 3) : piece);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

describe('over HTTP', () => {
  test('ranges bring only what is read, some of it ahead', async () => {
    requests = [];
    const seen: number[] = [];
    const source = await fetchSource(`${base}/ranges`, { readAhead: 100, onProgress: (n, total) => seen.push(n, total) });
    expect(source.size).toBe(1000);
    for (const [offset, length] of [[0, 8], [8, 92], [300, 50], [350, 50], [500, 400], [999, 1], [1000, 0]] as const) {
      expect([...(await source.read(offset, length))]).toEqual([...data.subarray(offset, offset + length)]);
    }
    expect(requests.map((r) => r.split('=')[1])).toEqual(['0-99', '300-399', '500-899', '999-999']);
    expect(seen).toEqual([100, 1000, 200, 1000, 600, 1000, 601, 1000]);
  });

  test('a server without ranges is read once', async () => {
    requests = [];
    const source = await fetchSource(`${base}/whole`);
    expect([...(await source.read(990, 10))]).toEqual([...data.subarray(990)]);
    expect(requests.length).toBe(1);
  });

  test('an empty file is empty', async () => expect((await fetchSource(`${base}/empty`)).size).toBe(0));

  test.each([
    ['/missing', /the server answered 404/],
    ['/broken', /broke off while it was fetched/],
    ['/unsized', /without saying how long the file is/],
  ])('%s is told', async (path, message) => {
    await expect(fetchSource(base + path)).rejects.toMatchObject({ name: 'RuntimeError', code: 'file', message: expect.stringMatching(message) });
  });

  test('a short answer and an unreachable server are told', async () => {
    const source = await fetchSource(`${base}/short`, { readAhead: 100 });
    await expect(source.read(200, 100)).rejects.toThrow(/a range of 100 bytes was asked for, the server sent 3/);
    await expect(fetchSource('http://127.0.0.1:1/')).rejects.toThrow(/could not be fetched/);
  });
});

test('reading beyond the end is refused', async () => {
  const source = bytesSource(data);
  for (const [offset, length] of [[999, 2], [-1, 1], [0, 1001], [NaN, 1], [0.5, 1]] as const) await expect(source.read(offset, length)).rejects.toThrow(/ends at byte 1000/);
});
