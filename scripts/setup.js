/** Installs what is missing, quietly: `npm run demo` works on a fresh clone. Plain JavaScript, since nothing is installed yet. */
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 11)) {
  console.error(`eemllm needs Node 20.11 or newer; this is ${process.version}. Install a current Node from https://nodejs.org.`);
  process.exit(1);
}

/** npm writes this file when an installation is complete. */
const installed = `${root}/node_modules/.package-lock.json`, lock = `${root}/package-lock.json`;
if (!existsSync(installed) || (existsSync(lock) && statSync(lock).mtimeMs > statSync(installed).mtimeMs)) {
  console.log('Installing dependencies (npm ci) …');
  const windows = process.platform === 'win32';
  const { status, error } = spawnSync(windows ? 'npm.cmd' : 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], shell: windows });
  if (error || status !== 0) {
    console.error(`Dependencies could not be installed: npm ci ${error ? `did not start (${error.message})` : `ended with exit code ${status}`}. Check the network and run "npm ci" to see all of its output.`);
    process.exit(1);
  }
}
