#!/usr/bin/env node
// The CLI and user models are TypeScript; tsx compiles them as they are imported, so nothing has to be built first.
process.setSourceMapsEnabled(true);
// Whoever reads the output may have read enough (`| head`).
process.stdout.on('error', (error) => { if (error.code === 'EPIPE') process.exit(0); throw error; });
const { register } = await import('tsx/esm/api');
register();
const { main } = await import('../compiler/cli/main.ts');
process.exitCode = await main(process.argv.slice(2));
