/** Packs pieces on several threads, or on this one where there is too little to do for threads to pay. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { RuntimeError } from '../../runtime/errors.ts';
import { UserError } from '../ir/errors.ts';
import type { PackJob, PackTask, PackedPiece } from './pack-piece.ts';
import { PiecePacker } from './pack-piece.ts';

/** An error as it travels between threads, where classes are lost. */
interface ToldError { readonly kind: 'user' | 'runtime' | 'system'; readonly message: string; readonly code?: string; readonly stack?: string }
export type PackAnswer = { readonly ready: true } | { readonly piece: PackedPiece } | { readonly error: ToldError };

export function toldError(error: unknown): ToldError {
  const e = error as Error & { code?: string };
  return { kind: e instanceof UserError ? 'user' : e instanceof RuntimeError ? 'runtime' : 'system', message: e.message, ...(e.code === undefined ? {} : { code: e.code }), ...(e.stack === undefined ? {} : { stack: e.stack }) };
}
function heardError({ kind, message, code, stack }: ToldError): Error {
  if (kind === 'user') return new UserError(message);
  if (kind === 'runtime') return new RuntimeError(code ?? 'file', message);
  return Object.assign(new Error(message), { code, stack });
}

/** Bytes that are packed in less time than threads take to begin. */
const worthThreads = 256 << 20;

export interface PackOptions {
  /** Threads; by default one more than there are cores, so that reading and writing overlap with packing, and none for little work. */
  readonly threads?: number;
}

/** Does all tasks and hands over each piece as it is done, in no order. The first error ends the work and is thrown. */
export async function packPieces(job: PackJob, tasks: readonly PackTask[], onPiece: (piece: PackedPiece) => void | Promise<void>, options: PackOptions = {}): Promise<void> {
  const threads = Math.min(options.threads ?? (tasks.length * job.pieceBytes < worthThreads ? 0 : availableParallelism() + 1), tasks.length);
  if (threads) return onThreads(job, tasks, onPiece, threads);
  const packer = new PiecePacker(job);
  try {
    for (const task of tasks) {
      await onPiece(packer.run(task));
      await new Promise((done) => setImmediate(done)); // a progress bar, a signal
    }
  } finally {
    packer.close();
  }
}

async function onThreads(job: PackJob, tasks: readonly PackTask[], onPiece: (piece: PackedPiece) => void | Promise<void>, threads: number): Promise<void> {
  let next = 0, done = 0;
  const workers: Worker[] = [];
  try {
    await new Promise<void>((finish, fail) => {
      const give = (worker: Worker): void => { const task = tasks[next++]; if (task) worker.postMessage(task); };
      const hear = async (worker: Worker, answer: PackAnswer): Promise<void> => {
        if ('error' in answer) throw heardError(answer.error);
        give(worker);
        if ('ready' in answer) return;
        await onPiece(answer.piece);
        if (++done === tasks.length) finish();
      };
      for (let i = 0; i < threads; i++) {
        const worker = new Worker(new URL('./pack-worker.js', import.meta.url), { workerData: job });
        workers.push(worker);
        worker.on('message', (answer: PackAnswer) => { hear(worker, answer).catch(fail); });
        worker.on('error', fail);
        worker.on('exit', (code) => fail(new Error(`A packing thread ended with code ${code} before its work was done.`)));
      }
    });
  } finally {
    await Promise.all(workers.map((w) => w.terminate()));
  }
}
