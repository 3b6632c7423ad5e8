/** What a report tells is what the graphs and formulas say; its page needs nothing else and says everything in words, too. */
import { parseHTML } from 'linkedom';
import { describe, expect, test } from 'vitest';
import { findModel } from '../../compiler/cli/model.ts';
import { makeStudy } from '../../compiler/cli/report/study.ts';
import { conventions } from '../../compiler/cost/conventions.ts';
import { deviceProfiles } from '../../compiler/cost/device-profiles.ts';
import { memoryNeed } from '../../compiler/cost/memory.ts';
import { compiled } from '../../compiler/cost/storage.ts';
import { attentionsBefore, groupLayers, pairCounts } from '../../compiler/report/attention.ts';
import { gridLeft, gridWritten, samplesOf } from '../../compiler/report/attention-grid.ts';
import type { CellKind } from '../../compiler/report/attention-grid.ts';
import { standalone } from '../../compiler/report/figure.ts';
import { amount, change, exact, listed, percent, ranges, tick } from '../../compiler/report/format.ts';
import { formulaGroups } from '../../compiler/report/formulas.ts';
import { cellColours, paletteCss, roleColours, series, surfaces } from '../../compiler/report/palette.ts';
import { report } from '../../compiler/report/report.ts';
import { rolesOf } from '../../compiler/report/roles.ts';
import { rooflineMarks } from '../../compiler/report/roofline.ts';
import { spentBy } from '../../compiler/report/spent.ts';

const V = 64, T = 20, layers = 5, names = ['self', 'composite', 'shortv:layers=2-3', 'fastv:k=2,r=0.5'];
const source = await findModel('examples/shapes/checkpoint');
const study = makeStudy(source, {
  title: 'shapes', variants: names, prompt: { text: T }, sizes: '64,96', generate: 3, convention: conventions['exact']!,
  device: { profile: deviceProfiles['rtx-4090']!, math: 'f16' }, command: 'eemllm report shapes',
});
const variant = (name: string) => study.variants.find((v) => v.name === name)!;
const triangle = (n: number): bigint => BigInt((n * (n + 1)) / 2);

describe('where FLOPs went', () => {
  test.each(names)('%s: by role and by layer they add up to the total', (name) => {
    const spent = spentBy(variant(name), study.sizes), { cost } = variant(name);
    expect(spent.total).toBe(cost.total);
    expect(spent.columns.reduce((s, c) => s + c.total, 0n)).toBe(cost.total);
    expect(spent.byRole.get('vision')).toBe(cost.parts.vision);
    expect(spent.byRole.get('scores')).toBe(cost.decoder.scores);
  });
  test('roles, read off the graph alone, agree with the names that the checkpoint has', () => {
    const byName: Record<string, string> = { q_proj: 'query', k_proj: 'key', v_proj: 'value', o_proj: 'output', out_proj: 'output', gate_proj: 'forward', up_proj: 'forward', down_proj: 'forward', fc1: 'forward', fc2: 'forward' };
    for (const { formula } of study.variants) {
      const roles = [...rolesOf(formula)].filter(([n]) => byName[n.path.split('.').at(-1)!]);
      expect(roles.length).toBeGreaterThan(50);
      for (const [n, role] of roles) expect(`${n.path}: ${role}`).toBe(`${n.path}: ${byName[n.path.split('.').at(-1)!]}`);
    }
  });
});

describe('pairs of query and key', () => {
  const pairs = (name: string, layer: number) => {
    const v = variant(name), a = attentionsBefore(v).find((x) => x.layer === layer)!;
    return Object.fromEntries(pairCounts(v, a, study.sizes).map((p) => [`${p.query}>${p.key}`, [p.proven, p.computed, p.copied, p.written - p.computed - p.copied]]));
  };
  test('self: causal, and one row asks in the last layer', () => {
    expect(pairs('self', 0)).toEqual({
      'visual>visual': ['causal', triangle(V), 0n, BigInt(V * V) - triangle(V)], 'visual>text': ['causal', 0n, 0n, BigInt(V * T)],
      'text>visual': ['causal', BigInt(V * T), 0n, 0n], 'text>text': ['causal', triangle(T), 0n, BigInt(T * T) - triangle(T)],
    });
    expect(pairs('self', layers - 1)).toMatchObject({ 'visual>visual': ['causal', 0n, 0n, BigInt(V * V)], 'text>visual': ['causal', BigInt(V), 0n, BigInt(V * T - V)], 'text>text': ['causal', BigInt(T), 0n, BigInt(T * T - T)] });
  });
  test('composite: a visual row is copied where it is read at all, and not in the last layer', () => {
    expect(pairs('composite', 0)).toMatchObject({ 'visual>visual': ['diagonal', 0n, BigInt(V), BigInt(V * V - V)], 'visual>text': ['empty', 0n, 0n, BigInt(V * T)], 'text>visual': ['causal', BigInt(V * T), 0n, 0n] });
    expect(pairs('composite', layers - 1)).toMatchObject({ 'visual>visual': ['diagonal', 0n, 0n, BigInt(V * V)] });
  });
  test('rows that leave are skipped from there on', () => {
    expect(pairs('fastv:k=2,r=0.5', 2)).toMatchObject({ 'visual>visual': ['causal', triangle(V / 2), 0n, BigInt(V * V) - triangle(V / 2)], 'text>visual': ['causal', BigInt((V / 2) * T), 0n, BigInt((V / 2) * T)] });
  });
  test('layers of one treatment share a map', () => {
    const groups = (name: string): (readonly number[])[] => groupLayers(attentionsBefore(variant(name))).map((g) => g.layers);
    expect(groups('composite')).toEqual([[0, 1, 2, 3], [4]]);
    expect(groups('shortv:layers=2-3')).toEqual([[0, 1], [2, 3], [4]]);
  });
  test('cells of a map are what the pairs in their places are', () => {
    const v = variant('composite'), [group] = groupLayers(attentionsBefore(v)), samples = samplesOf(group!.like.written.type.rows!.sequence, v.optimised, study.sizes);
    const [before, after] = [gridWritten(v, group!.like, samples), gridLeft(v, group!.like, samples)];
    expect(before.runs.map((r) => r.kind)).toEqual(['visual', 'text']);
    const [visual, text] = before.runs as [(typeof before.runs)[number], (typeof before.runs)[number]];
    const at = (cells: typeof before.cells, q: number, k: number): CellKind => cells[q]![k]!;
    for (let i = 0; i < visual.length; i++) expect([at(before.cells, i, i), at(after.cells, i, i), at(after.cells, i, (i + 1) % visual.length), at(before.cells, i, text.from)]).toEqual(['computed', 'copied', 'skipped', 'masked']);
    for (let i = text.from; i < text.from + text.length; i++) expect([at(after.cells, i, 0), at(after.cells, i, i), after.cells[i]![i + 1] ?? 'skipped']).toEqual(['computed', 'computed', 'skipped']);
  });
});

test('passes: each begins where the one before it ended, and none adds FLOPs', () => {
  for (const { passes } of study.variants) {
    passes.forEach((p, i) => expect(p.before).toEqual(i ? passes[i - 1]!.after : p.before));
    for (const p of passes) expect(p.after.flops <= p.before.flops).toBe(true);
  }
  expect(variant('composite').passes.map((p) => p.pass)).toContain('prune-by-mask');
  expect(variant('self').passes.map((p) => p.pass)).not.toContain('prune-by-mask');
});

test('time and memory: marks of the roofline add up to its time, and lie on the roof', () => {
  const { kernels } = variant('composite');
  if (typeof kernels === 'string') throw new Error(kernels);
  const { marks, seconds, byEntry } = rooflineMarks(kernels, study), { profile } = study.device;
  expect(marks.reduce((s, m) => s + m.seconds, 0)).toBeCloseTo(seconds, 12);
  expect([...byEntry.keys()]).toEqual(['first', 'decode']); // `vision` and `prefill` at once: nothing of the image waits for the question
  for (const m of marks) expect(m.attainable).toBeCloseTo(Math.min(profile.peak.f16!, m.intensity * profile.bandwidth), 0);
  const need = memoryNeed(kernels.program, { dims: { V, T }, generate: 3 }, compiled.f16), figure = report(study).figures.find((f) => f.id === 'memory')!;
  const cell = (row: string): string => figure.table.rows.find((r) => r[0] === row)![figure.table.head.indexOf('composite')]!;
  expect([cell('weights'), cell('arena'), cell('peak, all of it')]).toEqual([need.weights, need.arena, need.peak].map((x) => exact(x)));
});

test('formulas: those that variants share are written once', () => {
  const groups = formulaGroups(study);
  expect(groups.filter((g) => g.part === 'vision')).toMatchObject([{ variants: names }]);
  expect(groups.filter((g) => g.part === 'decoder').map((g) => g.variants)).toEqual(names.map((n) => [n]));
});

describe('the page', () => {
  const { html, figures } = report(study), { document } = parseHTML(html);

  test('holds every figure, with words and data for each', () => {
    expect(figures.map((f) => f.id)).toEqual(['cost-by-size', 'flops-by-role', 'flops-by-layer', 'attention', 'passes', 'roofline', 'memory']);
    expect([...document.querySelectorAll('section')].map((s) => s.id)).toEqual(['sizes', ...figures.map((f) => f.id), 'formulas']);
    for (const f of figures) {
      const section = document.getElementById(f.id)!, [wide, narrow, ...more] = section.querySelectorAll('.drawing > svg');
      expect(more).toEqual([]);
      for (const svg of [wide!, narrow!]) expect(document.getElementById(svg.getAttribute('aria-labelledby')!)?.textContent).toBe(f.alt);
      expect(section.querySelector('h2')?.textContent).toBe(f.title);
      expect(section.querySelectorAll('details tbody tr')).toHaveLength(f.table.rows.length);
      for (const row of f.table.rows) expect(row).toHaveLength(f.table.head.length);
      for (const words of [...f.lead, f.caption, f.alt, ...f.table.rows.flat()]) expect(words).not.toMatch(/undefined|NaN|Infinity|\[object|\$\{/);
    }
  });
  test('needs nothing from elsewhere', () => {
    expect(html.replaceAll('http://www.w3.org/2000/svg', '').replaceAll('http://www.w3.org/1998/Math/MathML', '')).not.toMatch(/(src|href)=["'](?!#)|@import|url\(|https?:\/\//);
    expect(html).not.toMatch(/NaN|Infinity|undefined/);
  });
  test('declares every colour that it names', () => {
    const declared = new Set([...paletteCss().matchAll(/--([\w-]+):/g)].map((m) => m[1]!));
    expect([...new Set([...html.matchAll(/var\(--([\w-]+)\)/g)].map((m) => m[1]!))].filter((n) => !declared.has(n))).toEqual([]);
  });
  test('is the same every time', () => expect(report(study).html).toBe(html));
  test('figures stand by themselves, in colours that any program knows', () => {
    for (const f of figures) {
      const svg = standalone(f);
      expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" /);
      expect(svg).not.toMatch(/var\(|currentColor|NaN/);
    }
  });
});

describe('colours', () => {
  const luminance = (hex: string): number => {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)) as [number, number, number];
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a: string, b: string): number => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p) as [number, number]; return (x + 0.05) / (y + 0.05); };
  test.each([0, 1] as const)('text can be read and marks be told from the paper, light and dark (%i)', (mode) => {
    for (const [name, shade] of [['ink', surfaces.ink], ['soft', surfaces.soft], ['accent', surfaces.accent]] as const)
      for (const ground of [surfaces.card, surfaces.paper, surfaces.fill]) expect(`${name}: ${contrast(shade[mode], ground[mode]) >= 4.5}`).toBe(`${name}: true`);
    const marks = { ...Object.fromEntries(series.map((s, i) => [`series ${i}`, s])), ...roleColours, computed: cellColours.computed, copied: cellColours.copied };
    for (const [name, shade] of Object.entries(marks)) expect(`${name}: ${contrast(shade[mode], surfaces.card[mode]) >= 3}`).toBe(`${name}: true`);
  });
});

test('numbers as the report writes them', () => {
  const spaced = (...xs: string[]): string[] => xs.map((x) => x.replaceAll('\u00a0', ' '));
  expect(spaced(amount(7_741_057_097_728n, 'FLOP'), amount(0, 'B'), amount(999, 'B'), amount(1000, 'B'))).toEqual(['7.74 TFLOP', '0 B', '999 B', '1 kB']);
  expect(spaced(percent(1, 3), percent(1, 0), change(9, 10), change(10, 10), change(11n, 10n), change(1, 0))).toEqual(['33.3 %', '–', '−10.0 %', '±0 %', '+10.0 %', '–']);
  expect([tick(2.5), tick(1000), tick(0.1 + 0.2), exact(12345678901234567890n)]).toEqual(['2.5', '1,000', '0.3', '12,345,678,901,234,567,890']);
  expect([ranges([3, 1, 2, 7]), listed(['a', 'b', 'c']), listed(['a'])]).toEqual(['1–3, 7', 'a, b and c', 'a']);
});
