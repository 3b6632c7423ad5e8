import { Llava } from './llava.ts';
import { imageIslands } from './masks.ts';

/** Each image is an island: its rows read one another alone. Text reads all images and a window of what stands before it. */
export const llavaOfIslands = (window: number) => class ImageIslands extends Llava {
  override mask = imageIslands(window);
};
