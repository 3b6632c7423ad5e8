/** The pictures of a run: decoded and made ready, or what an earlier run computed of them (`--memory`). */
import { existsSync } from 'node:fs';
import type { ImageInput, Model } from '../../../runtime/node.ts';
import { decodeImage } from '../../../runtime/node.ts';
import { fileSource } from '../../../runtime/node-files.ts';
import { UserError } from '../../ir/errors.ts';
import { checkWritable, writeOutput } from '../write-file.ts';

/**
 * @param files pictures; with a memory that is there already they may be left out, and are compared if they are not
 * @param memory file of the visual memory: loaded if it is there, else made
 */
export async function runPictures(model: Model, files: readonly string[], memory?: string): Promise<ImageInput[]> {
  const images: ImageInput[] = [];
  for (const file of files) images.push(await model.image(await decodeImage(file), file));
  if (memory === undefined) return images;
  if (existsSync(memory)) {
    const source = await fileSource(memory);
    try {
      return await model.loadMemory(source, files.length ? images : undefined);
    } finally {
      await source.close();
    }
  }
  if (!files.length) throw new UserError(`--memory ${memory} is not there yet, and no picture is given that it could be made of. Add --image FILE.`);
  await checkWritable(memory, '--memory');
  await writeOutput(memory, model.memoryFile(images), '--memory');
  return images;
}
