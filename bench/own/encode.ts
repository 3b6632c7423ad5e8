/**
 * What encoding costs the CPU, on Dawn's null backend, which computes nothing: `tsx bench/own/encode.ts BUNDLE`. A process
 * of its own, since one process has one adapter. Prints JSON: microseconds of each dispatch of a decode step.
 */
import { chooseTarget, newCounters, openBundleFolder, findAdapter } from '../../runtime/node.ts';
import { Program } from '../../runtime/program.ts';

const [folder] = process.argv.slice(2);
// Dawn works as long as somebody holds the adapter.
const bundle = await openBundleFolder(folder!), adapter = await findAdapter({ prefer: 'null' }), device = await adapter.open();
const program = await Program.create(bundle, chooseTarget(bundle, new Set(device.features), true), device.device);
const entry = program.entries.decode!, dims = { V: 0, T: 1, CV: 64, CT: 10, spans_tokens: 2 }, steps = 400;

const times: number[] = [];
for (let i = 0; i < steps; i++) {
  const counters = newCounters(), start = performance.now();
  program.writeDims(dims);
  const encoder = device.device.createCommandEncoder();
  program.encode(encoder, entry, dims, counters);
  device.device.queue.submit([encoder.finish()]);
  times.push((1000 * (performance.now() - start)) / counters.dispatches);
  if (i % 50 === 49) await device.device.queue.onSubmittedWorkDone();
}
times.sort((a, b) => a - b);
console.log(JSON.stringify({ adapter: adapter.name, dispatches: entry.dispatches.length, microseconds: times[times.length >> 1] }));
device.close();
