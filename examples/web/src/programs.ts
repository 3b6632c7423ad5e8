/** The two programs of the page, on one device. */
import type { LoadedModel, Model, OpenDevice, FoundAdapter } from '../../../runtime/browser.ts';
import { findAdapter, loadModel } from '../../../runtime/browser.ts';

export const programNames = ['composite', 'self'] as const;
export type ProgramName = (typeof programNames)[number];
export const other = (name: ProgramName): ProgramName => (name === 'self' ? 'composite' : 'self');

export interface Programs {
  readonly adapter: FoundAdapter;
  readonly device: OpenDevice;
  /** Programs that are ready; they arrive one after the other. */
  readonly ready: ReadonlyMap<ProgramName, Model>;
}

export interface LoadingReport {
  /** Bytes of weights on the device so far. */
  readonly onProgress: (name: ProgramName, bytes: number, total: number) => void;
  readonly onReady: (name: ProgramName, programs: Programs) => void;
}

/** Loads both programs, the composite one first. @throws RuntimeError as `loadModel` */
export async function loadPrograms(report: LoadingReport): Promise<void> {
  const adapter = await findAdapter(), device = await adapter.open();
  const ready = new Map<ProgramName, Model>();
  for (const name of programNames) {
    const { model }: LoadedModel = await loadModel(`bundles/${name}`, { device, onProgress: (p) => report.onProgress(name, p.bytes, p.total) });
    ready.set(name, model);
    report.onReady(name, { adapter, device, ready });
  }
}
