/** The HTTP interface: OpenAI's chat completions over one model, and what a service needs besides. */
import type { Context } from 'hono';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { streamSSE } from 'hono/streaming';
import { randomUUID } from 'node:crypto';
import { RuntimeError, reasonOf } from '../../../runtime/errors.ts';
import type { Answer, ServedModel } from './answer.ts';
import { answer } from './answer.ts';
import type { Buffers } from './buffers.ts';
import { readChatRequest } from './chat-request.ts';
import { Metrics } from './metrics.ts';
import { FairQueue, QueueFull } from './queue.ts';

export interface ServeOptions {
  /** What clients call the model; the bundle's own name by default. */
  readonly name?: string;
  /** What the device holds, for the metrics. */
  readonly buffers?: Buffers;
  /** Largest request, bytes. */
  readonly maxBody: number;
  /** Most pictures of a request. */
  readonly maxImages: number;
  /** Most requests that wait. */
  readonly maxWaiting: number;
  /** Who sent a request, for taking turns. */
  readonly clientOf: (c: Context) => string;
  /** Aborts every answer, when the server shuts down. */
  readonly signal: AbortSignal;
}

class TooLarge extends Error {}

/** How many times the largest request is read and thrown away: whoever is still sending hears why it is refused only afterwards. */
const drained = 4;
async function discard(body: ReadableStream<Uint8Array> | null, most: number): Promise<void> {
  if (!body || body.locked) return;
  const reader = body.getReader();
  try {
    for (let read = 0; read <= most;) {
      const { done, value } = await reader.read();
      if (done) return;
      read += value.byteLength;
    }
  } catch { /* the client is gone */ } finally {
    await reader.cancel().catch(() => undefined);
  }
}

export function serveApp(model: ServedModel, options: ServeOptions): Hono {
  const app = new Hono(), queue = new FairQueue(options.maxWaiting), metrics = new Metrics(() => queue.length, options.buffers);
  const { type, variant } = model.bundle.manifest.model, name = options.name ?? model.bundle.manifest.model.name, created = Math.floor(Date.now() / 1000);
  let lost: string | undefined;
  const known = { id: name, object: 'model', created, owned_by: 'eemllm', type, variant };

  /** An error as OpenAI's clients expect it; ours is told as such, without its inside. */
  const failed = (c: Context, error: unknown): Response => {
    const told = (status: 400 | 404 | 413 | 429 | 499 | 500 | 503, type: string, message: string, code: string | null = null): Response => {
      metrics.requests.inc({ status });
      return c.json({ error: { message, type, code, param: null } }, status as 400);
    };
    if (error instanceof QueueFull) { c.header('Retry-After', '5'); return told(429, 'rate_limit_error', `${options.maxWaiting} requests wait already; try again later.`); }
    if (error instanceof RuntimeError && error.code === 'device-lost') { lost = error.message; return told(503, 'server_error', error.message, error.code); }
    // The rest of the request may be unread, so nothing else can come over this connection.
    if (error instanceof TooLarge) { c.header('Connection', 'close'); return told(413, 'invalid_request_error', error.message); }
    if (error instanceof RuntimeError) return told(400, 'invalid_request_error', error.message, error.code);
    if (error instanceof DOMException && error.name === 'AbortError') return told(499, 'client_closed_request', 'The request was given up.');
    process.stderr.write(`internal error: ${error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
    return told(500, 'server_error', 'The server failed; its log says why.');
  };
  app.onError((error, c) => failed(c, error));
  app.notFound((c) => c.json({ error: { message: `There is nothing at ${c.req.method} ${c.req.path}; try POST /v1/chat/completions, GET /v1/models, /health or /metrics.`, type: 'invalid_request_error', code: null, param: null } }, 404));

  app.get('/health', (c) => (lost === undefined ? c.json({ status: 'ok', model: name, waiting: queue.length }) : c.json({ status: 'failed', reason: lost }, 503)));
  app.get('/metrics', async (c) => c.text(await metrics.text()));
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [known] }));
  app.get('/v1/models/:id{.+}', (c) => {
    if (c.req.param('id') !== name) return c.json({ error: { message: `There is no model '${c.req.param('id')}' here, only '${name}'.`, type: 'invalid_request_error', code: 'model_not_found', param: null } }, 404);
    return c.json(known);
  });

  const tooLarge = async (c: Context): Promise<Response> => {
    await discard(c.req.raw.body, drained * options.maxBody);
    return failed(c, new TooLarge(`The request is larger than ${options.maxBody} bytes, the most that this server takes. Send smaller pictures, or start it with a larger --max-body.`));
  };
  app.post('/v1/chat/completions', bodyLimit({ maxSize: options.maxBody, onError: tooLarge }), async (c) => {
    const start = performance.now(), since = (): number => (performance.now() - start) / 1000;
    // A page of another origin could send plain text without asking; JSON it may not.
    if (!/^application\/json\b/i.test(c.req.header('content-type') ?? '')) throw new RuntimeError('value', `The request's content type is '${c.req.header('content-type') ?? ''}', and application/json was expected.`);
    const body: unknown = await c.req.json().catch((e: unknown) => { throw new RuntimeError('value', `The request is no JSON: ${reasonOf(e)}.`); });
    const request = readChatRequest(body, options.maxImages);
    // No AbortSignal.any: what it makes of a signal that outlives all requests is not collected in Node 20.
    const gone = new AbortController(), { signal } = gone, goneWith = [c.req.raw.signal, options.signal], abort = (): void => gone.abort();
    for (const s of goneWith) { if (s.aborted) abort(); else s.addEventListener('abort', abort, { once: true }); }
    const forget = (): void => { for (const s of goneWith) s.removeEventListener('abort', abort); };
    const turn = await queue.enter(options.clientOf(c), signal).catch((e: unknown) => { forget(); throw e; }), leave = (): void => { forget(); turn(); };
    const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model: name };
    const finished = (a: Answer): void => {
      metrics.requests.inc({ status: 200 });
      metrics.promptTokens.inc(a.usage.prompt_tokens);
      metrics.tokens.inc(a.usage.completion_tokens);
      metrics.duration.observe(since());
      for (const part of ['vision', 'prefill', 'decode'] as const) metrics.parts.inc({ part }, (a.timings?.[part] ?? 0) / 1000);
    };
    let streaming = false;
    const usageOf = (a: Answer) => ({ ...a.usage, total_tokens: a.usage.prompt_tokens + a.usage.completion_tokens });
    try {
      const made = await answer(model, request, signal);
      // The first piece is made before anything is sent: what cannot be answered is still told by its status.
      let piece = await made.text.next();
      metrics.firstToken.observe(since());
      if (!request.stream) {
        let content = '';
        for (; !piece.done; piece = await made.text.next()) content += piece.value;
        signal.throwIfAborted();
        finished(made);
        return c.json({ ...head, object: 'chat.completion', choices: [{ index: 0, message: { role: 'assistant', content }, logprobs: null, finish_reason: made.finish }], usage: usageOf(made) });
      }
      streaming = true;
      return streamSSE(c, async (stream) => {
        stream.onAbort(() => gone.abort());
        try {
          const send = (data: object): Promise<void> => stream.writeSSE({ data: JSON.stringify({ ...head, object: 'chat.completion.chunk', ...data }) });
          const delta = (d: object, finish_reason: Answer['finish'] | null = null): Promise<void> => send({ choices: [{ index: 0, delta: d, logprobs: null, finish_reason }] });
          await delta({ role: 'assistant', content: '' });
          for (; !piece.done && !signal.aborted; piece = await made.text.next()) await delta({ content: piece.value });
          if (signal.aborted) { await made.text.return(undefined); return; }
          await delta({}, made.finish);
          if (request.usage) await send({ choices: [], usage: usageOf(made) });
          await stream.writeSSE({ data: '[DONE]' });
          finished(made);
        } finally {
          leave();
        }
      }, async (error, stream) => { await stream.writeSSE({ data: JSON.stringify({ error: { message: error instanceof RuntimeError ? error.message : 'The server failed; its log says why.', type: 'server_error', code: null, param: null } }) }); });
    } finally {
      if (!streaming) leave();
    }
  });
  return app;
}
