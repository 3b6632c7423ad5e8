/** The Q-Former of BLIP-2 (arXiv 2301.12597) and InstructBLIP, with the tensor names of Hugging Face's `Blip2QFormerModel`. */
import type { Dim, Given, Integers, Mask, Tensor } from 'eemllm';
import { Embedding, LayerNorm, Linear, Model, Module, attention, embeddings, ids, index, mask, merge, sequence } from 'eemllm';
import { activation } from './activations.ts';
import type { QFormerConfig } from './config/qformer.ts';
import { qFormerConfig } from './config/qformer.ts';

/** Learned queries, words of an instruction if there is one, and the rows of one picture. */
type Rows = 'query' | 'word' | 'feature';
type Own = 'query' | 'word';
type Hidden<Kinds extends string = Own> = Tensor<Kinds, 'hidden_size'>;

/** Attention to rows of a width of their own, and the norm of its sum with what came in. */
class QFormerAttention<From extends Dim<QFormerConfig>> extends Module<QFormerConfig> {
  attention: { readonly query: Linear<'hidden_size', 'hidden_size'>; readonly key: Linear<From, 'hidden_size'>; readonly value: Linear<From, 'hidden_size'> };
  output = new QFormerOutput(this.cfg, 'hidden_size');
  constructor(cfg: QFormerConfig, from: From) {
    super(cfg);
    this.attention = { query: new Linear(cfg, 'hidden_size', 'hidden_size'), key: new Linear(cfg, from, 'hidden_size'), value: new Linear(cfg, from, 'hidden_size') };
  }

  forward<Q extends Rows, K extends Rows>(x: Hidden<Q>, of: Tensor<K, From>, mask: Mask<Rows>): Hidden<Q> {
    const { query, key, value } = this.attention;
    return this.output.forward(attention(query.forward(x), key.forward(of), value.forward(of), { mask, heads: this.cfg.num_attention_heads }), x);
  }
}

class QFormerOutput<From extends Dim<QFormerConfig>> extends Module<QFormerConfig> {
  dense: Linear<From, 'hidden_size'>;
  LayerNorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });
  constructor(cfg: QFormerConfig, from: From) {
    super(cfg);
    this.dense = new Linear(cfg, from, 'hidden_size');
  }

  forward<Kinds extends string>(x: Tensor<Kinds, From>, before: Hidden<Kinds>): Hidden<Kinds> { return this.LayerNorm.forward(before.add(this.dense.forward(x))); }
}

class QFormerIntermediate extends Module<QFormerConfig> {
  dense = new Linear(this.cfg, 'hidden_size', 'intermediate_size');
  forward<Kinds extends string>(x: Hidden<Kinds>) { return activation(this.cfg.hidden_act)(this.dense.forward(x)); }
}

/** Queries and words read one another; queries alone read the picture; each kind has a feed-forward of its own. */
class QFormerLayer extends Module<QFormerConfig> {
  attention = new QFormerAttention(this.cfg, 'hidden_size');
  crossattention?: QFormerAttention<'encoder_hidden_size'>;
  intermediate?: QFormerIntermediate;
  output?: QFormerOutput<'intermediate_size'>;
  intermediate_query = new QFormerIntermediate(this.cfg);
  output_query = new QFormerOutput(this.cfg, 'intermediate_size');
  constructor(cfg: QFormerConfig, index: number) {
    super(cfg);
    if (index % cfg.cross_attention_frequency === 0) this.crossattention = new QFormerAttention(cfg, 'encoder_hidden_size');
    if (!cfg.use_qformer_text_input) return;
    this.intermediate = new QFormerIntermediate(cfg);
    this.output = new QFormerOutput(cfg, 'intermediate_size');
  }

  forward(x: Hidden, features: Tensor<'feature', 'encoder_hidden_size'>, mask: Mask<Rows>): Hidden {
    const { crossattention, intermediate, output } = this;
    const h = this.attention.forward(x, x, mask).update('query', (queries) => {
      const seen = crossattention ? crossattention.forward(queries, features, mask) : queries;
      return this.output_query.forward(this.intermediate_query.forward(seen), seen);
    });
    return output && intermediate ? h.update('word', (words) => output.forward(intermediate.forward(words), words)) : h;
  }
}

class QFormerEmbeddings extends Module<QFormerConfig> {
  word_embeddings = new Embedding(this.cfg, 'vocab_size', 'hidden_size');
  position_embeddings = new Embedding(this.cfg, 'max_position_embeddings', 'hidden_size');
  forward(ids: Integers<'word'>): Hidden<'word'> {
    const words = this.word_embeddings.forward(ids);
    return words.add(this.position_embeddings.forward(index(words)));
  }
}

export class QFormer extends Model<QFormerConfig> {
  static override readConfig = qFormerConfig;
  picture = sequence('reading', { query: this.cfg.num_query_tokens, word: this.cfg.num_words, feature: this.cfg.num_encoder_rows });
  inputs = {
    query_embeds: embeddings(this.picture, 'query', this.cfg, 'hidden_size'), ids: ids(this.picture, 'word'),
    encoder_hidden_states: embeddings(this.picture, 'feature', this.cfg, 'encoder_hidden_size'),
  };
  embeddings = this.cfg.use_qformer_text_input ? new QFormerEmbeddings(this.cfg) : undefined;
  layernorm = new LayerNorm(this.cfg, 'hidden_size', { eps: this.cfg.layer_norm_eps });
  encoder = { layer: Array.from({ length: this.cfg.num_hidden_layers }, (_, i) => new QFormerLayer(this.cfg, i)) };

  forward({ query_embeds, ids, encoder_hidden_states }: Given<QFormer['inputs']>) {
    // Without an instruction there are no words.
    const rows = this.embeddings ? merge(query_embeds, this.embeddings.forward(ids)) : query_embeds.ofKinds<Own>('query');
    const everything = mask(this.picture, () => true);
    let x = this.layernorm.forward(rows);
    for (const layer of this.encoder.layer) x = layer.forward(x, encoder_hidden_states, everything);
    return x.rows('query');
  }
}
