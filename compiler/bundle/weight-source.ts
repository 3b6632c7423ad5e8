/** Where a tensor's data lies in a checkpoint's files: plain data, so that a worker can be told. */
import { closeSync, openSync, readSync } from 'node:fs';
import { fileError } from '../../runtime/node-files.ts';
import type { SafetensorsDtype } from '../../runtime/safetensors.ts';
import { checkRange } from '../../runtime/sources.ts';

export interface WeightSource {
  /** The checkpoint's own name of it. */
  readonly name: string;
  readonly path: string;
  /** First byte in the file. */
  readonly offset: number;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
}

/** Reads ranges of files, at once: whoever packs has a thread for it. */
export class FileRanges {
  private readonly open = new Map<string, number>();

  /** @throws RuntimeError `file` when the file cannot be read, or ends before the range does. */
  read(path: string, offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.byteLength; ) {
      let bytes: number;
      try {
        bytes = readSync(this.handle(path), into, done, Math.min(into.byteLength - done, 1 << 30), offset + done);
      } catch (cause) {
        throw fileError(path, cause);
      }
      if (!bytes) checkRange({ label: path, size: offset + done }, offset, into.byteLength);
      done += bytes;
    }
  }

  close(): void {
    for (const handle of this.open.values()) closeSync(handle);
    this.open.clear();
  }

  private handle(path: string): number {
    let handle = this.open.get(path);
    if (handle === undefined) this.open.set(path, (handle = openSync(path, 'r')));
    return handle;
  }
}
