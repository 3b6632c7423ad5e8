/**
 * LLaVA-UHD (arXiv 2403.11703): a picture is cut into slices of the tower's size, with the whole picture as one more, and a
 * perceiver resampler that they share brings each of them to 64 rows.
 */
import type { Given, Rows, Tensor } from 'eemllm';
import { Embedding, Linear, Model, Module, asRows, attention, broadcast, ids, index, mask, parameter, pictures, sequence } from 'eemllm';
import type { LlavaConfig } from 'eemllm/models';
import { ClipVisionModel, Llama, allRows, causal, everyRow, llavaConfig, published, tokens } from 'eemllm/models';

type Config = LlavaConfig & { readonly num_queries: number };

class Resampler extends Module<Config> {
  start = parameter(this.cfg, 'hidden_size');
  queries = new Embedding(this.cfg, 'num_queries', 'hidden_size');
  q_proj = new Linear(this.cfg, 'hidden_size', 'hidden_size');
  k_proj = new Linear(this.cfg, 'vision_hidden_size', 'hidden_size');
  v_proj = new Linear(this.cfg, 'vision_hidden_size', 'hidden_size');
  out_proj = new Linear(this.cfg, 'hidden_size', 'hidden_size');

  forward(features: Rows<'hidden_size'>): Tensor<'query', 'hidden_size'> {
    const slice = sequence('slice', { query: this.cfg.num_queries, feature: this.cfg.vision_config.num_patches });
    const x = asRows(features, slice, 'feature').named(this.cfg, 'vision_hidden_size'), start = broadcast(this.start, slice, 'query');
    const q = this.q_proj.forward(start.add(this.queries.forward(index(start))));
    return this.out_proj.forward(attention(q, this.k_proj.forward(x), this.v_proj.forward(x), { mask: mask(slice, () => true), heads: this.cfg.hidden_size / 128 }));
  }
}

export class LlavaUhd extends Model<Config> {
  static override config = published['llava-1.5-13b'];
  static override readConfig = (...args: Parameters<typeof llavaConfig>): Config => ({ ...llavaConfig(...args), num_queries: 64 });
  inputs = { pixels: pictures(this.cfg.vision_config), ids: ids(tokens, 'text') };
  vision_tower = new ClipVisionModel(this.cfg.vision_config);
  projector = new Resampler(this.cfg);
  language_model = new Llama(this.cfg.text_config);

  forward({ pixels, ids }: Given<LlavaUhd['inputs']>) {
    const visual_embeds = asRows(this.projector.forward(this.vision_tower.forward({ pixels }, this.cfg)), tokens, 'visual');
    return this.language_model.forward({ ids, visual_embeds }, { mask: causal, rewrite: everyRow, keep: allRows, layerCount: this.language_model.layerCount });
  }
}
