/** `eemllm flops --json`: all that the tables say, FLOPs and bytes as exact integers. */
import { groupName } from '../../cost/grouping.ts';
import { latex } from '../../cost/latex.ts';
import { readable } from '../../cost/readable.ts';
import type { RunSizes } from '../../cost/program-cost.ts';
import type { VariantCost } from './costs.ts';
import { formulaJson } from './formulas.ts';
import type { Head } from './report.ts';

export interface JsonOptions { readonly formula?: boolean | undefined; readonly latex?: boolean | undefined }

export function jsonOf(head: Head, { dims, images, tiles, generate }: RunSizes, costs: readonly VariantCost[], options: JsonOptions): unknown {
  const { device } = head;
  return {
    model: head.model, convention: head.convention.name, visual: dims['V'], text: dims['T'], images, tiles, generate: generate ?? 0,
    by: head.by, stored: head.stored, scores: head.scores, ...(device && { device: { ...device.profile, math: device.math } }),
    variants: costs.map((c) => ({
      name: c.name, parts: c.cost.parts, decoder: c.cost.decoder, total: c.cost.total, bytes: c.bytes,
      ...(head.by !== 'part' && { groups: c.groups.map(({ name, flops, bytes }) => ({ name, flops, ...(bytes && { bytes }) })) }),
      ...(head.by === 'part' && { bytesByPart: Object.fromEntries(c.groups.map((g) => [g.name, g.bytes])) }),
      ...(c.roofline && { time: timeOf(c) }), ...(c.need && { memory: memoryOf(c) }), ...(c.bundle !== undefined && { bundle: { weights: c.bundle } }),
      ...(options.formula && { formula: formulaJson(head, c), readable: formulaJson(head, c, readable) }),
      ...(options.latex && { latex: formulaJson(head, c, latex) }),
      ...(c.unstaged !== undefined && { unstaged: c.unstaged }),
    })),
  };
}

/** Milliseconds at best: in all, by entry point, and by the groups of the table (of kernels, by op). */
function timeOf({ roofline, times }: VariantCost): unknown {
  const entries: Record<string, number> = {};
  for (const { ops: [op], seconds } of roofline!.kernels) entries[groupName.entry(op!)] = (entries[groupName.entry(op!)] ?? 0) + seconds * 1e3;
  return { ms: roofline!.seconds * 1e3, entries, groups: Object.fromEntries([...times!].map(([name, s]) => [name, s * 1e3])) };
}

function memoryOf({ need }: VariantCost): unknown {
  const { weights, kvCache, visualMemory, arena, peak, entries } = need!;
  return { weights, kvCache, visualMemory, arena, peak, arenaByEntry: Object.fromEntries(entries.map((e) => [e.entry, e.arena])) };
}
