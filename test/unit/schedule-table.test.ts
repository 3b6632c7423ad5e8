/** Tables of measured schedules: what is chosen by them, what is refused, and that nothing illegal is ever chosen. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { trace } from '../../compiler/frontend/trace.ts';
import { openModel } from '../../compiler/load-model.ts';
import { stepsApart } from '../../compiler/schedule/apart.ts';
import { farthest, tableChooser, usualChooser } from '../../compiler/schedule/chooser.ts';
import type { DeviceClass, DeviceFacts } from '../../compiler/schedule/device-facts.ts';
import { defaultLimits, leastFacts } from '../../compiler/schedule/device-facts.ts';
import type { TileSchedule } from '../../compiler/schedule/matmul-tile.ts';
import type { MatmulShape } from '../../compiler/schedule/product-shape.ts';
import { shippedTables } from '../../compiler/schedule/shipped.ts';
import type { ScheduleTable, TableEntry } from '../../compiler/schedule/table.ts';
import { adapterName, factsOfTable, readTable, sameDevice, updated } from '../../compiler/schedule/table.ts';
import type { FamilyName, Wanted } from '../../compiler/schedule/wanted.ts';
import { distanceOf, kernelFamilies, scheduleText, wantedAttention, wantedNorm, wantedProduct, wantedText } from '../../compiler/schedule/wanted.ts';

const shape: MatmulShape = { K: 512, weightRows: 1024, a: 'f32', weight: 'f32', linears: [1], arithmetic: 'f32' };
const facts = leastFacts('software'), wanted = wantedProduct(shape, 64) as Wanted<'matmul'>;
const space = kernelFamilies.matmul.space(shape, facts), usual = usualChooser.choose(wanted, facts).schedule;
const others = space.filter((s) => scheduleText(s) !== scheduleText(usual));
const table = (entries: readonly object[], more: Partial<ScheduleTable> = {}): ScheduleTable => readTable(JSON.parse(JSON.stringify({
  version: 1, adapter: { vendor: 'acme', architecture: 'one', device: 'd', description: 'driver 1' }, class: 'software', features: [], limits: defaultLimits, measured: { date: '2026-01-01' }, entries, ...more,
})), 'a test');
const entry = (rows: number, schedule: unknown, more: object = {}): object => ({ family: 'matmul', form: wanted.form, sizes: { ...wanted.sizes, rows }, schedule, ms: 1, usualMs: 2, ...more });

describe('the choice', () => {
  test('is that of the very shape, then of the nearest, then the default', () => {
    const chooser = tableChooser(table([entry(64, others[0]), entry(100, others[1]), entry(100 * 2 ** (farthest + 1), others[2])]));
    expect(chooser.choose(wanted, facts)).toEqual({ schedule: others[0], by: 'exact', distance: 0, from: wantedText(wanted) });
    const near = chooser.choose(wantedProduct(shape, 200) as Wanted<'matmul'>, facts);
    expect(near).toMatchObject({ schedule: others[1], by: 'nearest', distance: 1 });
    expect(near.from).toContain('rows 100');
    expect(chooser.choose(wantedProduct({ ...shape, K: 8 }, 100) as Wanted<'matmul'>, facts)).toEqual({ schedule: usual, by: 'default' });
  });
  test('does not cross forms: what was measured for f16 weights says nothing of f32', () => {
    const other = tableChooser(table([entry(64, others[0], { form: 'weights f16' })]));
    expect(other.choose(wanted, facts).by).toBe('default');
  });
  test('never takes what is no schedule of the space: the nearest legal one stands for it, and counts as further away', () => {
    const legal = others.find((s): s is TileSchedule => s.form === 'tile')!, illegal = { ...legal, outputs: [legal.outputs[0] * 1.4, legal.outputs[1]] };
    const alone = tableChooser(table([entry(64, illegal)])).choose(wanted, facts), steps = Math.log2(1.4);
    expect(stepsApart(alone.schedule, illegal)).toBeCloseTo(Math.min(...space.map((s) => stepsApart(s, illegal))), 9);
    expect(alone).toMatchObject({ by: 'nearest', from: wantedText(wanted) });
    expect(alone.distance).toBeLessThanOrEqual(steps + 1e-9);
    // One that is legal as it is, a third of a doubling away, is nearer.
    expect(tableChooser(table([entry(64, illegal), entry(80, others[0])])).choose(wanted, facts)).toMatchObject({ schedule: others[0], by: 'nearest' });
    // Nothing of this kind is legal here.
    expect(tableChooser(table([entry(64, { ...legal, threads: [4096, 4096] })])).choose(wanted, facts)).toEqual({ schedule: usual, by: 'default' });
  });
  test('heads that a table merges are left apart where each has keys of its own', () => {
    const exchanging: DeviceFacts = { ...facts, features: new Set(['subgroups']), subgroups: { min: 8, max: 8 } };
    const own = (kvHeads: number) => wantedAttention({ heads: 8, kvHeads, headDim: 64, valueDim: 64, vector: 4, fewQueries: false, masked: false }, 64, 640, 'f32') as Wanted<'attention'>;
    const grouped = kernelFamilies.attention.space(own(2).shape, exchanging).find((s) => s.form === 'exchange' && s.mergeHeads)!;
    const chosen = tableChooser(table([{ family: 'attention', form: own(2).form, sizes: own(2).sizes, schedule: grouped, ms: 1, usualMs: 2 }])).choose(own(8), exchanging);
    expect(chosen.schedule).toEqual({ ...grouped, mergeHeads: false });
    expect(chosen.distance).toBe(2 + 1);
  });
  test('distance is in doublings of sizes', () => {
    expect(distanceOf({ rows: 8, K: 3 }, { rows: 8, K: 3 })).toBe(0);
    expect(distanceOf({ rows: 8, K: 3 }, { rows: 64, K: 48 })).toBe(5);
    expect(distanceOf({ rows: 8 }, { K: 8 })).toBe(Infinity);
  });
});

const kinds: readonly Wanted[] = [
  wanted, wantedProduct({ ...shape, rows: 1 }, 1), wantedProduct({ ...shape, linears: [2], weight: 'f16x2', pairs: true }, 17), wantedProduct({ ...shape, normed: true }, 5),
  wantedAttention({ heads: 8, kvHeads: 2, headDim: 64, valueDim: 64, vector: 4, fewQueries: true, masked: true }, 64, 640, 'f32'),
  wantedAttention({ heads: 8, kvHeads: 2, headDim: 64, valueDim: 64, vector: 4, fewQueries: false, masked: false, queryRows: 1 }, 1, 640, 'f16'),
  wantedNorm({ width: 100 }, 3), wantedNorm({ width: 100, rows: 1 }, 1),
];

describe('whatever a table says', () => {
  // Whatever JSON can say.
  const anything = fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean(), fc.string({ maxLength: 8 }), fc.array(fc.oneof(fc.integer({ min: -4, max: 4096 }), fc.boolean()), { maxLength: 3 }));
  test('a schedule that is chosen is legal', () => {
    fc.assert(fc.property(fc.constantFrom(...kinds), fc.constantFrom<DeviceClass>('gpu', 'software'), fc.array(fc.record({
      pick: fc.nat(), over: fc.dictionary(fc.constantFrom('threads', 'outputs', 'depth', 'lanes', 'teams', 'splits', 'splitRows', 'staged', 'form', 'rows', 'family'), anything, { maxKeys: 3 }), rows: fc.integer({ min: 1, max: 1000 }),
    }), { maxLength: 6 }), (w, device, forged) => {
      const of = leastFacts(device), legal = [...kernelFamilies[w.family].space(w.shape as never, of), kernelFamilies[w.family].usual(w as never, of)];
      const chooser = tableChooser(table(forged.map(({ pick, over, rows }) => ({ family: w.family, form: w.form, sizes: { ...w.sizes, ...('rows' in w.sizes ? { rows } : {}) }, schedule: { ...legal[pick % legal.length], ...over }, ms: 1, usualMs: 1 }))));
      const { schedule } = chooser.choose(w as Wanted<FamilyName>, of);
      expect(kernelFamilies[w.family].whyNot(schedule as never, w.shape as never, of)).toBeUndefined();
      expect(legal.map(scheduleText)).toContain(scheduleText(schedule));
    }), { numRuns: 80 });
  });
  test('families and forms that nobody knows are never asked', () => {
    const chooser = tableChooser(table([{ ...entry(64, others[0]), family: 'convolution' }, entry(64, { family: 'matmul', form: 'teleport' })]));
    expect(chooser.choose(wanted, facts)).toEqual({ schedule: usual, by: 'default' });
  });
});

describe('reading', () => {
  const good = JSON.parse(JSON.stringify(table([entry(64, others[0])]))) as Record<string, unknown>;
  test.each([
    ['another version', { ...good, version: 2 }, 'my.json is a schedule table of version 2, and version 1 is read here. Update the package, or measure a table with `eemllm tune`.'],
    ['no table', [], "my.json is no schedule table"],
    ['no entries', { ...good, entries: undefined }, "my.json is no schedule table: 'entries': it is missing."],
    ['a size that is no number', { ...good, entries: [{ ...(good['entries'] as TableEntry[])[0], sizes: { rows: 'many' } }] }, "'entries.0.sizes.rows': a number was expected"],
    ['code in a schedule', { ...good, entries: [{ ...(good['entries'] as TableEntry[])[0], schedule: { form: { run: 'rm' } } }] }, "'entries.0.schedule.form'"],
    ['unknown fields', { ...good, more: 1 }, "'more': no such field is known"],
  ])('%s', (_name, json, message) => expect(() => readTable(json, 'my.json')).toThrow(message));
  test('a newer measurement of the same work replaces the older, all else stays', () => {
    const a = table([entry(64, others[0]), entry(100, others[1])]), b = table([entry(64, others[2])], { measured: { date: '2026-02-02' } });
    expect(sameDevice(a, b)).toBe(true);
    expect(sameDevice(a, table([], { features: ['shader-f16'] }))).toBe(false);
    const both = updated(a, b);
    expect(both.measured).toEqual({ date: '2026-02-02' });
    expect(both.entries.map((e) => [e.sizes['rows'], scheduleText(e.schedule)])).toEqual([[100, scheduleText(others[1])], [64, scheduleText(others[2])]]);
  });
});

describe('the shipped tables', () => {
  const shipped = shippedTables();
  test('say how they were measured, and are of adapters of their own', () => {
    expect(shipped.map((t) => t.adapter.vendor).sort()).toEqual(['google', 'mesa']);
    for (const t of shipped) {
      expect(factsOfTable(t).class).toBe('software');
      expect(t.measured).toMatchObject({ eemllm: expect.any(String), date: expect.stringMatching(/^20\d\d-/) });
      expect([t.measured['command']].flat().join()).toContain('eemllm tune ');
      for (const e of t.entries) expect(e.ms).toBeLessThanOrEqual(e.usualMs);
    }
  });
  test("are of today's spaces: all that was measured of the demo's model is found again", async () => {
    const { graph } = trace((await openModel('examples/shapes/checkpoint')).create('composite')), chosen = new Map<string, Set<string>>();
    const { targets } = compile(graph, {
      name: 'shapes', type: 'llava', variant: 'composite', dtype: 'f16', maxVisual: 64, maxText: 64, usual: { visual: 64, text: 32 }, targets: ['software'], tables: shipped,
      onMade: ({ choice, wanted: w }, target) => { if (choice.by === 'exact') chosen.set(target, (chosen.get(target) ?? new Set()).add(wantedText(w))); },
    });
    for (const t of shipped) {
      const found = [...chosen].find(([target]) => target.includes(`@${adapterName(t.adapter)}`))![1], measured = t.entries.filter((e) => e.form.startsWith('weights f16') && e.sizes['K'] === 128 && [64, 65].includes(e.sizes['rows']!));
      expect(measured.length).toBeGreaterThan(5);
      expect([...found]).toEqual(expect.arrayContaining(measured.map(wantedText)));
    }
    expect(targets.map((t) => t.target.name).filter((n) => n.includes('@'))).toHaveLength(shipped.length);
  });
});
