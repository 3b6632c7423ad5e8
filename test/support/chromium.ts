/** A headless Chromium out of npm (`@sparticuz/chromium`), for tests of what runs in browsers. No system packages needed. */
import { createWriteStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress } from 'node:zlib';
import Chromium from '@sparticuz/chromium';
import { chromium, type Browser } from 'playwright-core';
import { cacheFolders, chromiumArchives, unpackOnce } from '../../runtime/node-unpack.ts';

/** Is there a Chromium for this system in the package? */
export const hasChromium = process.platform === 'linux' && process.arch === 'x64';

/** Switch WebGPU on, on SwiftShader: headless Chromium offers no adapter without them. */
export const WEBGPU_FLAGS = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-unsafe-swiftshader'];

/** Starts the browser. Unpacking takes some seconds once (64 MB, 200 MB unpacked). Close it when done. */
export async function launchChromium(extra: readonly string[] = []): Promise<Browser> {
  const archives = chromiumArchives();
  const cache = cacheFolders()[0]!;
  const folder = await unpackOnce(cache, 'chromium', archives.file('chromium.br'), async (packed, temporary) => {
    // Chromium looks for its graphics libraries beside itself.
    await archives.untar(readFileSync(archives.file('swiftshader.tar.br')), temporary);
    await pipeline(Readable.from([packed]), createBrotliDecompress(), createWriteStream(join(temporary, 'chromium'), { mode: 0o700 }));
  });
  // Chromium wants NSS and expat, which a bare system lacks. The package brings them for Lambda; elsewhere they are added
  // behind the system's own.
  const libraries = await unpackOnce(cache, 'chromium-libraries', archives.file('al2023.tar.br'), archives.untar);
  // The package's flags are for Lambda; one process for everything is not how anybody's browser runs.
  const args = Chromium.args.filter((a) => a !== '--single-process' && a !== '--no-zygote' && !a.startsWith('--use-angle'));
  return chromium.launch({
    executablePath: join(folder, 'chromium'),
    headless: true,
    args: [...args, '--use-angle=swiftshader', ...extra],
    env: { ...process.env, LD_LIBRARY_PATH: [process.env.LD_LIBRARY_PATH, join(libraries, 'lib')].filter(Boolean).join(':') },
  });
}
