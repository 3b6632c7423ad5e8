/** Who is compared, and each one's process. */
import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { findManifests, loadSwiftShader } from '../../runtime/node-vulkan.ts';
import type { Answer, Reply, Request } from './runner.ts';

export interface PeerInfo {
  readonly name: string;
  /** Relative to this file. */
  readonly script: string;
  /** Package that it runs, in ../peers/node_modules; ours needs none. */
  readonly needs?: string;
  readonly flags: readonly string[];
}
export const own: PeerInfo = { name: 'eemllm', script: './own.ts', flags: [] };
export const others: readonly PeerInfo[] = [
  { name: 'onnxruntime-web', script: '../peers/ort-web.ts', needs: 'onnxruntime-web', flags: ['--liftoff-only'] },
  { name: 'onnxruntime-node', script: '../peers/ort-node.ts', needs: 'onnxruntime-node', flags: [] },
  { name: 'jax-js', script: '../peers/jax.ts', needs: '@jax-js/jax', flags: [] },
  { name: 'TensorFlow.js', script: '../peers/tfjs.ts', needs: '@tensorflow/tfjs-backend-webgpu', flags: [] },
];
export const isInstalled = (p: PeerInfo): boolean => p.needs === undefined || existsSync(fileURLToPath(new URL(`../peers/node_modules/${p.needs}/package.json`, import.meta.url)));
export const installCommand = 'npm install --ignore-scripts --prefix bench/peers';

/** The variable that points every Vulkan loader, also the one inside onnxruntime-node, at the driver of one kind of adapter. */
export async function driverVariable(kind: string): Promise<Record<string, string>> {
  if (process.platform !== 'linux') return {};
  const files = kind === 'swiftshader' ? [(await loadSwiftShader()).manifest] : kind === 'lavapipe' ? findManifests().lavapipe : findManifests().hardware;
  const given = process.env['VK_DRIVER_FILES'] ?? process.env['VK_ICD_FILENAMES'] ?? files.join(':');
  return { VK_DRIVER_FILES: given, VK_ICD_FILENAMES: given };
}


/** A runner's process. It ends when it crashes or is stuck, and is started anew at the next request. */
export class PeerProcess {
  private child: ChildProcess | undefined;
  /** Processes so far: what was prepared in an earlier one is gone. */
  started = 0;
  /** A process that leaves a request unanswered for `patience` milliseconds counts as stuck. */
  constructor(readonly info: PeerInfo, private readonly env: Readonly<Record<string, string>>, private readonly patience: number) {}

  async ask<R extends Request>(request: R): Promise<Reply<R>> {
    if (!this.child) {
      this.child = this.start();
      if (request.do !== 'open') await this.send(this.child, { do: 'open' });
    }
    return this.send(this.child, request);
  }

  private send<R extends Request>(child: ChildProcess, request: R): Promise<Reply<R>> {
    return new Promise((resolve, reject) => {
      const end = (): void => { clearTimeout(timer); child.off('message', onMessage); child.off('exit', onExit); };
      const lose = (why: string): void => { end(); if (this.child === child) this.child = undefined; child.kill('SIGKILL'); reject(new Error(why)); };
      const onMessage = (a: Answer): void => { end(); if ('error' in a) reject(new Error(a.error)); else resolve(a.value as Reply<R>); };
      const onExit = (code: number | null, signal: string | null): void => lose(`its process ended (${signal ?? `code ${code}`})`);
      const timer = setTimeout(() => lose(`no answer within ${this.patience / 1000} s`), this.patience);
      child.on('message', onMessage);
      child.on('exit', onExit);
      child.send(request, (e) => { if (e) lose(`its process does not listen (${e.message})`); });
    });
  }

  close(): void {
    if (this.child?.connected) this.child.disconnect();
    this.child = undefined;
  }

  private start(): ChildProcess {
    this.started++;
    const env: NodeJS.ProcessEnv = { ...process.env, ...this.env };
    // The driver files say which adapter; the peers know no other way.
    if (this.env['VK_DRIVER_FILES']) delete env['EEMLLM_ADAPTER'];
    const child = fork(fileURLToPath(new URL(this.info.script, import.meta.url)), { execArgv: ['--import', 'tsx', ...this.info.flags], serialization: 'advanced', env, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    // A channel that closes under way is told by the exit, or by the request that it cost.
    child.on('error', () => undefined);
    return child;
  }
}
