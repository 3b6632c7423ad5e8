/** Our runner: every case is compiled into a bundle and runs through the runtime. A process of ../peers.ts. */
import type { OpenDevice } from '../../runtime/device.ts';
import type { AdapterPreference, FoundAdapter } from '../../runtime/node.ts';
import { findAdapter } from '../../runtime/node.ts';
import { version } from '../../compiler/version.ts';
import type { Case } from './cases.ts';
import { directions } from './cases.ts';
import { ownCase } from './own-models.ts';
import { OwnProgram } from './own-program.ts';
import type { Ready, Runner } from './runner.ts';
import { serve } from './runner.ts';

let adapter: FoundAdapter, device: OpenDevice;

async function prepare(c: Case): Promise<Ready> {
  const own = await OwnProgram.create(ownCase(c), c.precision, device.device, adapter.software), finish = () => device.guard(device.device.queue.onSubmittedWorkDone());
  const release = (): void => { own.destroy(); }, decodes = c.kind === 'layer' ? c.step === 'decode' : c.kind === 'product' && c.rows === 1;
  await device.guard(own.prefill());
  if (decodes) await own.decode();
  const all = await device.guard(own.result()), width = c.kind === 'product' ? c.outputs : c.kind === 'attention' ? c.heads * c.headDim : directions;
  const first = c.kind === 'layer' && decodes ? c.visual + c.text : 0, rows = async (wanted: readonly number[]): Promise<Float64Array> => Float64Array.from(wanted.flatMap((r) => Array.from(all.subarray((first + r) * width, (first + r + 1) * width))));
  if (c.kind === 'layer') {
    return decodes ? { begin: async () => { await own.rewind(); await finish(); }, run: async (times) => { for (let i = 0; i < times; i++) await own.decode(); await finish(); }, rows, release }
      : { run: async (times) => { for (let i = 0; i < times; i++) await own.prefill(); await finish(); }, rows, release };
  }
  const repeat = own.repeat(decodes ? 'decode' : 'prefill', c.kind === 'product' ? (_family, path) => path === 'linear' : (family) => family.startsWith('attention'));
  return { run: async (times) => { repeat(times); await finish(); }, rows, release };
}

const runner: Runner = {
  async open() {
    const prefer = process.env['EEMLLM_ADAPTER'] as AdapterPreference | undefined;
    adapter = await findAdapter(prefer ? { prefer } : {});
    device = await adapter.open();
    return {
      versions: { eemllm: version }, adapter: adapter.name, kind: adapter.kind, software: adapter.software, toggles: adapter.toggles, half: device.features.has('shader-f16'), projects: true,
      notes: 'compiled bundles through the runtime; image embeddings and token ids are uploaded in each call, results stay on the device; until onSubmittedWorkDone',
    };
  },
  variants: () => ['bundle'],
  prepare: (c) => prepare(c),
};
serve(runner);
