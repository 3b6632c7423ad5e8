/**
 * Criterion 3: whatever a table says, and whoever measured it, a bundle that was compiled with it answers as its definition.
 * Tables are forged so that they speak of every piece of a small model's work, and of the very adapter that runs it.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Made } from '../../compiler/bundle/families.ts';
import { compile } from '../../compiler/compile.ts';
import { defaultLimits, factsOf, leastFacts } from '../../compiler/schedule/device-facts.ts';
import type { DeviceFacts } from '../../compiler/schedule/device-facts.ts';
import { shippedTables } from '../../compiler/schedule/shipped.ts';
import type { ScheduleTable, TableEntry } from '../../compiler/schedule/table.ts';
import { factsOfTable, readTable, tableVersion } from '../../compiler/schedule/table.ts';
import type { Schedule, Wanted } from '../../compiler/schedule/wanted.ts';
import { kernelFamilies } from '../../compiler/schedule/wanted.ts';
import type { OpenDevice } from '../../runtime/device.ts';
import type { FoundAdapter } from '../../runtime/node-adapter.ts';
import { findAdapter } from '../../runtime/node-adapter.ts';
import { itemsOf, referenceLogits, storedWeights, textLength, visualLength, withSession } from './random-bundle.ts';
import { Dice } from './random-products.ts';
import { knownMasks, randomCase } from './random-graphs.ts';
import { distance } from './run-case.ts';

const everything = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
/** What a large GPU would allow, in the name of an adapter that has none of it. */
const boastful: Pick<DeviceFacts, 'limits' | 'features' | 'subgroups' | 'subgroupMatrix'> = {
  limits: { maxComputeWorkgroupStorageSize: 1 << 20, maxComputeInvocationsPerWorkgroup: 4096, maxComputeWorkgroupSizeX: 4096, maxComputeWorkgroupSizeY: 4096 },
  features: new Set(everything), subgroups: { min: 32, max: 32 }, subgroupMatrix: [{ M: 16, N: 16, K: 16, component: 'f16', result: 'f32' }],
};

export function foreignTablesSuite(kind: 'swiftshader' | 'lavapipe'): void {
  let found: FoundAdapter | undefined, open: OpenDevice, own: DeviceFacts; // the device works as long as somebody holds the adapter
  beforeAll(async () => { found = await findAdapter({ prefer: kind }); open = await found.open(); own = factsOf(open, found.adapter.info, true); });
  afterAll(() => { open.close(); found = undefined; });

  const [c] = fc.sample(randomCase({ generates: true, layers: 1, width: 24, length: 9, masks: fc.constant(knownMasks['composite']!) }), { numRuns: 1, seed: 11 }) as [Parameters<typeof itemsOf>[0]];
  const items = itemsOf(c), maxVisual = Math.max(1, visualLength(items)), maxText = textLength(items) + 1;

  /** All work of the model as it is wanted on a device. */
  const wantedOn = (table: ScheduleTable): Wanted[] => {
    const made: Made[] = [];
    compile(c.graph, { name: 'random', type: 'random', variant: 'own', dtype: 'f32', maxVisual, maxText, targets: [], tables: [table], onMade: (m) => made.push(m) });
    return made.map((m) => m.wanted);
  };
  const blank = (facts: DeviceFacts): ScheduleTable => {
    const { vendor, architecture, device, description } = found!.adapter.info;
    return readTable({
      version: tableVersion, adapter: { vendor, architecture, device, description }, class: facts.class, features: [...facts.features].filter((f) => everything.includes(f)), limits: { ...facts.limits },
      ...(facts.subgroups ? { subgroups: facts.subgroups } : {}), ...(facts.subgroupMatrix ? { subgroupMatrix: facts.subgroupMatrix } : {}), measured: { date: 'never' }, entries: [],
    }, 'a forged table');
  };
  /** A table that has an answer for every piece of work. */
  const forged = (facts: DeviceFacts, answer: (wanted: Wanted, i: number) => object | undefined): ScheduleTable => {
    const table = blank(facts);
    return { ...table, entries: wantedOn(table).flatMap((w, i) => { const s = answer(w, i); return s ? [{ family: w.family, form: w.form, sizes: { ...w.sizes }, schedule: s as TableEntry['schedule'], ms: 1, usualMs: 9 }] : []; }) };
  };
  const spaceOf = (w: Wanted, facts: DeviceFacts): readonly Schedule[] => kernelFamilies[w.family].space(w.shape as never, facts);

  /** Runs prefill and a decoding step of the model by these tables; which target ran. */
  const answers = async (tables: readonly ScheduleTable[], device: 'software' | 'gpu' = 'software'): Promise<string> => withSession(c, open.device, { device, dtype: 'f32', features: open.features, maxVisual, maxText, tables }, async (session, formats) => {
    const weights = storedWeights(c, formats);
    await session.prefill(items);
    const first = distance(referenceLogits(c, items, weights), await session.logits());
    session.decode(0);
    const second = distance(referenceLogits(c, [...items, 0], weights), await session.logits());
    open.check();
    expect(Math.max(first, second)).toBeLessThan(1e-4);
    return session.program.target.name;
  });

  test("schedules from all over the adapter's own space", async () => {
    const dice = new Dice(5);
    expect(await answers([forged(own, (w) => dice.of(spaceOf(w, own)))])).toContain('@');
  });
  // Mesa takes seconds to compile each of these.
  test.runIf(kind === 'swiftshader')("a GPU's forms: K shared among workgroups, blocks of few rows, sums that meet in subgroups", async () => {
    const gpu: DeviceFacts = { ...own, class: 'gpu' };
    const forms: readonly ((s: Schedule) => boolean)[] = [(s) => 'splits' in s && s.splits > 1, (s) => 'form' in s && s.form === 'rows', (s) => ('form' in s && s.form === 'subgroup') || s.family === 'matmul'];
    for (const [i, wish] of forms.entries()) {
      const table = forged(gpu, (w) => new Dice(i).of([...spaceOf(w, gpu)].sort((a, b) => Number(wish(b)) - Number(wish(a))).slice(0, 4)));
      expect(await answers([table], 'gpu')).toContain('@');
    }
  });
  test("another adapter's table in this one's name", async () => {
    for (const t of shippedTables()) {
      const facts: DeviceFacts = { ...own, limits: defaultLimits };
      await answers([forged(facts, (w, i) => { const list = t.entries.filter((e) => e.family === w.family); return list[i % Math.max(1, list.length)]?.schedule; })]);
      await answers([{ ...t, adapter: blank(own).adapter }]);
      expect(factsOfTable(t).class).toBe('software');
    }
  });
  test('illegal schedules, of huge workgroups, broken or unknown', async () => {
    const nonsense: readonly object[] = [{ threads: [1024, 1024] }, { threads: [3, 5] }, { depth: -4 }, { lanes: 0 }, { lanes: 1 << 20 }, { rows: 7 }, { form: 'teleport' }, { family: 'convolution' }, { splits: 1e9, splitRows: 1 }, { staged: 1 << 24 }, { outputs: [1e6, 1e6] }, { threads: 'many' }];
    const name = await answers([forged(own, (w, i) => ({ ...kernelFamilies[w.family].usual(w as never, own), ...nonsense[i % nonsense.length]! }))]);
    expect(name).toMatch(/^software-f32/);
  });
  test('features and limits that the adapter lacks: the default of its class runs', async () => {
    const facts: DeviceFacts = { class: 'software', ...boastful }, dice = new Dice(9);
    const name = await answers([forged(facts, (w) => {
      const beyond = spaceOf(w, { ...facts, class: 'gpu' }).filter((s) => kernelFamilies[w.family].whyNot(s as never, w.shape as never, leastFacts('gpu', own.features)));
      return beyond.length ? dice.of(beyond) : undefined;
    })]);
    // A software class never has such schedules in its space, so the table says nothing that is believed.
    expect(name).toMatch(/^software-f32/);
    expect(await answers([forged({ class: 'gpu', ...boastful }, (w) => dice.of(spaceOf(w, { class: 'gpu', ...boastful })))])).toBe('software-f32');
  });
}
