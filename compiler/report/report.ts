/** A report: its figures, and the page that holds them. */
import { version } from '../version.ts';
import { attentionMap } from './attention-map.ts';
import { costBySize } from './cost-by-size.ts';
import type { Figure } from './figure.ts';
import { flopsByLayer } from './flops-by-layer.ts';
import { flopsByRole } from './flops-by-role.ts';
import { formulasSection } from './formulas.ts';
import { memoryFigure } from './memory.ts';
import type { Section } from './page.ts';
import { figureSection, page, sizesSection } from './page.ts';
import { passesFigure } from './passes.ts';
import { rooflineFigure } from './roofline.ts';
import type { Study } from './study.ts';

export interface Report {
  /** The page as HTML. */
  readonly html: string;
  readonly figures: readonly Figure[];
}

export function report(study: Study): Report {
  const figures = [costBySize(study), flopsByRole(study), flopsByLayer(study), attentionMap(study), passesFigure(study), rooflineFigure(study), memoryFigure(study)].filter((f) => f !== undefined);
  const sizes = sizesSection(study), sections: Section[] = figures.map(figureSection);
  if (sizes) sections.unshift(sizes);
  sections.push({ id: 'formulas', title: 'The formulas', body: formulasSection(study) });
  return { figures, html: page(study, sections, version) };
}
