/** What examples/shapes expects: pictures, questions, and the recipe's own greedy answers. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));
export const shapesFolder = join(root, 'examples/shapes');

interface Answer { readonly tokens: number[]; readonly text: string; readonly gap: number }
export interface ShapesLine { readonly image: string; readonly question: string; readonly truth: string; readonly self: Answer; readonly composite: Answer }
export const shapesLines = (): ShapesLine[] => readFileSync(join(shapesFolder, 'expected.jsonl'), 'utf8').split('\n').filter(Boolean).map((l) => JSON.parse(l) as ShapesLine);
