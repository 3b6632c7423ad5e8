/**
 * The page of examples/web: compiles what it shows, then serves or builds it.
 *
 *   tsx scripts/web.ts [dev | build | preview] [--port N] [--host]
 */
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { build, createServer, preview } from 'vite';
import { prepareWeb } from './web-data.ts';

const root = fileURLToPath(new URL('../examples/web', import.meta.url));

const { values, positionals } = parseArgs({ allowPositionals: true, options: { port: { type: 'string' }, host: { type: 'boolean' } } });
const [command = 'dev'] = positionals;
const server = { ...(values.port ? { port: Number(values.port), strictPort: true } : {}), ...(values.host ? { host: true } : {}) };

switch (command) {
  case 'dev': {
    await prepareWeb({ log: console.log });
    const dev = await createServer({ root, server });
    await dev.listen();
    dev.printUrls();
    break;
  }
  case 'build':
    await prepareWeb({ log: console.log });
    await build({ root });
    break;
  case 'preview':
    (await preview({ root, preview: server })).printUrls();
    break;
  default:
    console.error(`There is no command '${command}'. Say dev, build or preview.`);
    process.exitCode = 1;
}
