import { Command } from 'commander';
import type { AddressInfo } from 'node:net';
import { reasonOf } from '../../runtime/errors.ts';
import type { AdapterPreference } from '../../runtime/node-adapter.ts';
import { loadModel } from '../../runtime/node.ts';
import { UserError } from '../ir/errors.ts';
import { counting } from './output.ts';
import { progressBar } from './progress.ts';
import { countBuffers } from './serve/buffers.ts';

interface Flags { name?: string; host: string; port: number; adapter?: AdapterPreference; maxBody: number; maxImages: number; maxWaiting: number; grace: number }

export const serveCommand = (): Command => new Command('serve')
  .description("Serve a bundle over HTTP as OpenAI's clients expect it: /v1/chat/completions with pictures (data URLs) and streaming, /v1/models; /health and /metrics besides.")
  .argument('<bundle>', 'folder that `eemllm compile` made')
  .option('--name <name>', "what clients call the model; the bundle's own name by default")
  .option('--host <address>', 'address to listen on; 127.0.0.1 can be reached from this machine alone', '127.0.0.1')
  .option('--port <n>', 'port to listen on, 0 for any free one', counting('--port'), 8080)
  .option('--adapter <kind>', 'auto, hardware, lavapipe or swiftshader')
  .option('--max-body <bytes>', 'largest request', counting('--max-body', 1), 32 << 20)
  .option('--max-images <n>', 'most pictures of a request', counting('--max-images'), 16)
  .option('--max-waiting <n>', 'most requests that wait; further ones are told to come back', counting('--max-waiting'), 64)
  .option('--grace <seconds>', 'how long an answer may go on after a request to stop', counting('--grace'), 10)
  .addHelpText('after', `
Pictures come as data URLs; no URL that a client sends is fetched.

Example:
  $ eemllm serve shapes.bundle &
  $ curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
      -d '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}},
           {"type": "text", "text": "how many objects are there ?"}]}]}'`)
  .action(async (bundle: string, flags: Flags) => {
    if (flags.port > 65535) throw new UserError(`--port is ${flags.port}; ports go up to 65535.`);
    const { serve } = await import('@hono/node-server'), { getConnInfo } = await import('@hono/node-server/conninfo'), { serveApp } = await import('./serve/app.ts');
    const bar = progressBar('loading weights');
    const loaded = await loadModel(bundle, { ...(flags.adapter ? { adapter: { prefer: flags.adapter } } : {}), onProgress: (p) => bar.update(p.bytes, p.total) }).finally(() => bar.stop());
    const stop = new AbortController(), name = flags.name ?? loaded.model.bundle.manifest.model.name, buffers = countBuffers(loaded.device.device, loaded.model.program.buffers.values());
    const app = serveApp(loaded.model, { name, buffers, maxBody: flags.maxBody, maxImages: flags.maxImages, maxWaiting: flags.maxWaiting, signal: stop.signal, clientOf: (c) => `${getConnInfo(c).remote.address ?? ''} ${c.req.header('authorization') ?? ''}` });
    try {
      await new Promise<void>((done, fail) => {
        const server = serve({ fetch: app.fetch, hostname: flags.host, port: flags.port }, (info: AddressInfo) => {
          process.stdout.write(`${name} on ${loaded.adapter.name}: http://${info.family === 'IPv6' ? `[${info.address}]` : info.address}:${info.port}/v1\n`);
        });
        server.on('error', (e) => fail(new UserError(`The server cannot listen on ${flags.host}:${flags.port}: ${reasonOf(e)}. Choose another --port or --host.`)));
        const end = (): void => {
          // Running answers may finish; whoever is still there after the grace is cut off.
          const cut = setTimeout(() => stop.abort(), flags.grace * 1000);
          server.close(() => { clearTimeout(cut); done(); });
        };
        process.once('SIGINT', end);
        process.once('SIGTERM', end);
      });
    } finally {
      loaded.close();
    }
  });
