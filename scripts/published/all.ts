import { blocks } from './blocks.ts';
import { eeMllm } from './ee-mllm.ts';
import { fastV } from './fastv.ts';
import { llavaMini } from './llava-mini.ts';
import { llavaUhd } from './llava-uhd.ts';
import { notGraphs } from './not-graphs.ts';
import { parameterCounts } from './parameters.ts';
import { pyramidDrop } from './pyramid-drop.ts';
import type { Row, Section } from './row.ts';
import { isReproduced } from './row.ts';
import { shortV } from './shortv.ts';
import { survey } from './survey.ts';
import { towers } from './towers.ts';

/** The sections of the file of published numbers, in its order. */
export const sections: readonly Section[] = [eeMllm, survey, fastV, shortV, pyramidDrop, llavaMini, llavaUhd, towers, parameterCounts, blocks, notGraphs];

/** A row with our value beside it. */
export interface Result {
  readonly row: Row;
  readonly section: Section;
  readonly ours?: number;
  readonly command?: string;
  /** Reproduced; out of tolerance; or not tried, for a reason that the row gives. */
  readonly outcome: 'OK' | 'off' | 'not reproduced';
}

export async function checkRow(section: Section, row: Row): Promise<Result> {
  if (typeof row.ours !== 'function') return { row, section, outcome: 'not reproduced' };
  const { value, command } = await row.ours();
  return { row, section, ours: value, ...(command !== undefined && { command }), outcome: isReproduced(row, value) ? 'OK' : 'off' };
}

export async function checkAll(): Promise<Result[]> {
  const results: Result[] = [];
  for (const s of sections) for (const r of s.rows) results.push(await checkRow(s, r));
  return results;
}
