/** What becomes of a picture of a given size: how many tiles the tower sees, how many tokens the prompt gets. */
import type { PictureSize } from '../../runtime/tiling/any-resolution.ts';
import { UserError } from '../ir/errors.ts';
import type { Graph } from '../ir/graph.ts';
import { rowCount } from '../ir/rows.ts';
import type { Model, ModelClass } from './model.ts';

export type { PictureSize } from '../../runtime/tiling/any-resolution.ts';

/** How one picture enters a model. */
export interface ImageLayout {
  /** Pictures that the vision tower sees: one, or the tiles that the picture is cut into together with its overview. */
  readonly tiles: number;
  /** Visual rows of the prompt: the rows of all tiles that reach the language model, and learned rows between them. */
  readonly visual: number;
  /** Images as masks count them, where they are not one: tiles with text between them are images of their own. */
  readonly images?: number;
  /** Text tokens that the processor writes around the visual ones, such as marks of tiles, rows and columns. */
  readonly text: number;
  /** Rows that the tower has of each tile, where that depends on the picture's size. */
  readonly towerRows?: readonly number[];
}

/**
 * The layout of a picture in a model, as one of so many images of a prompt, by the rule of its class (`static imageLayout`). A class without one resizes every
 * picture to one size: one tile, with the rows that the graph takes over from the tower. Throws a UserError for a model that
 * reads no pictures.
 */
export function imageLayout(model: Model, graph: Graph, size: PictureSize, images = 1): ImageLayout {
  const { imageLayout: rule } = model.constructor as ModelClass;
  if (rule) return rule(model.cfg as never, size, images);
  const visual = rowsPerPicture(graph);
  if (visual === undefined) throw new UserError(`The model ${model.constructor.name} reads no pictures, so the size of one says nothing about its tokens. Give the number of visual tokens (--visual N).`);
  return { tiles: 1, visual, text: 0 };
}

/** Rows that one picture gives: those that a language model takes over from its tower, or a tower's own. Undefined without a tower. */
export function rowsPerPicture(g: Graph): number | undefined {
  const taken = g.nodes.find((n) => n.op === 'as_rows' && n.type.rows!.sequence.kinds.some((k) => !k.media));
  const rows = taken ? taken.inputs[0]!.type.rows : [...g.outputs.values()][0]?.type.rows;
  return rows && !rows.last ? rowCount(rows).constant() : undefined;
}
