import { Llava } from './llava.ts';
import { composite } from './masks.ts';

/** EE-MLLM (arXiv 2408.11795): LLaVA with composite attention. */
export class EeMllm extends Llava {
  override mask = composite;
}
