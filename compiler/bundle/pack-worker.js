/** Begins a packing thread. Threads do not share the loader that lets the program be TypeScript, so this one asks for its own. */
import { register } from 'tsx/esm/api';

register();
await import('./pack-worker-thread.ts');
