/** A packing thread: is told of tasks, one after the other, and answers each with its piece or its error. */
import { parentPort, workerData } from 'node:worker_threads';
import type { PackJob, PackTask } from './pack-piece.ts';
import { PiecePacker } from './pack-piece.ts';
import type { PackAnswer } from './pack-pool.ts';
import { toldError } from './pack-pool.ts';

const port = parentPort!, packer = new PiecePacker(workerData as PackJob);
const answer = (a: PackAnswer): void => port.postMessage(a);
port.on('message', (task: PackTask) => {
  try {
    answer({ piece: packer.run(task) });
  } catch (error) {
    answer({ error: toldError(error) });
  }
});
answer({ ready: true });
