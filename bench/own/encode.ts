/**
 * What a decode step costs the CPU, on Dawn's null backend, which computes nothing: `tsx bench/own/encode.ts BUNDLE`. A process
 * of its own, since one process has one adapter. Prints JSON: microseconds of each dispatch for encoding and submitting
 * alone, and for the whole step of a session (its inputs are written, too).
 */
import { chooseTarget, newCounters, openBundleFolder, findAdapter } from '../../runtime/node.ts';
import { Program } from '../../runtime/program.ts';
import { Session } from '../../runtime/session.ts';

const [folder] = process.argv.slice(2);
// Dawn works as long as somebody holds the adapter.
const bundle = await openBundleFolder(folder!), adapter = await findAdapter({ prefer: 'null' }), { device, features, close } = await adapter.open();
const program = await Program.create(bundle, chooseTarget(bundle, new Set(features), true), device), session = new Session(program, bundle.manifest, { slice: 0 });
const prompt = [1, 2, 3], answer = 16, steps = 400, encoding: number[] = [], stepping: number[] = [];

for (let i = 0; i < steps; i++) {
  if (i % answer === 0) { await device.queue.onSubmittedWorkDone(); await session.prefill(prompt); }
  const before = performance.now(), { dispatches } = session.decode(4), { entry, dims } = session.last!;
  stepping.push((1000 * (performance.now() - before)) / dispatches);
  const start = performance.now(), encoder = device.createCommandEncoder(), counters = newCounters();
  program.writeDims(dims);
  program.entries[entry]!.encode(encoder, dims, counters);
  device.queue.submit([encoder.finish()]);
  encoding.push((1000 * (performance.now() - start)) / counters.dispatches);
}
const median = (xs: number[]): number => xs.sort((a, b) => a - b)[xs.length >> 1]!;
console.log(JSON.stringify({ adapter: adapter.name, dispatches: program.entries.decode!.dispatches.length, microseconds: median(encoding), step: median(stepping) }));
close();
