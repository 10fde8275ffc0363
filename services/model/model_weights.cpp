// Which tensors do all families hold, and who reads the rest? Embedding, norms, vocabulary, the
// plain MLP and the module that drafts have the same names everywhere; the rest of a layer is read
// by its architecture's file.
#include "model/weights.h"

namespace fathom {
namespace {

Result<EndWeights> read_ends(const ModelConfig& c, Shard shard, WeightReader& reader) {
  EndWeights out;
  FATHOM_TRY(out.embed, reader.matrix("model.embed_tokens.weight", c.vocab, c.hidden));
  FATHOM_TRY(out.final_norm, reader.vector("model.norm.weight", c.hidden));
  if (c.tied_embeddings) {
    out.lm_head = out.embed.slice_rows(shard.begin(c.vocab), shard.part(c.vocab));
  } else {
    FATHOM_TRY(out.lm_head, reader.matrix("lm_head.weight", c.vocab, c.hidden));
  }
  return out;
}

Status read_layer(const ModelConfig& c, Shard shard, WeightReader& reader, int32_t index,
                  LayerWeights& out) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  FATHOM_TRY(out.input_norm, reader.vector(prefix + "input_layernorm.weight", c.hidden));
  FATHOM_TRY(out.post_norm, reader.vector(prefix + "post_attention_layernorm.weight", c.hidden));
  if (c.attention == AttentionKind::gqa) return read_llama_layer(c, shard, reader, prefix, out);
  return read_deepseek_layer(c, shard, reader, index, prefix, out);
}

// Stored as one more layer behind the model's own.
Result<MtpWeights> read_mtp(const ModelConfig& c, Shard shard, WeightReader& reader) {
  const std::string prefix = "model.layers." + std::to_string(c.layers) + ".";
  MtpWeights out;
  FATHOM_TRY(out.token_norm, reader.vector(prefix + "enorm.weight", c.hidden));
  FATHOM_TRY(out.hidden_norm, reader.vector(prefix + "hnorm.weight", c.hidden));
  FATHOM_TRY(out.join, reader.matrix(prefix + "eh_proj.weight", c.hidden, 2 * c.hidden));
  FATHOM_CHECKED(read_layer(c, shard, reader, c.layers, out.layer));
  FATHOM_TRY(out.head_norm, reader.vector(prefix + "shared_head.norm.weight", c.hidden));
  return out;
}

}  // namespace

Result<DenseWeights> read_mlp(WeightReader& reader, const std::string& prefix, int32_t hidden,
                              int32_t width) {
  DenseWeights out;
  FATHOM_TRY(out.gate, reader.matrix(prefix + "gate_proj.weight", width, hidden));
  FATHOM_TRY(out.up, reader.matrix(prefix + "up_proj.weight", width, hidden));
  FATHOM_TRY(out.down, reader.matrix(prefix + "down_proj.weight", hidden, width));
  return out;
}

Result<ModelWeights> read_model_weights(const ModelConfig& c, Shard shard, WeightReader& reader) {
  ModelWeights out;
  FATHOM_TRY(out.ends, read_ends(c, shard, reader));
  for (int32_t i = 0; i < c.layers; ++i)
    FATHOM_CHECKED(read_layer(c, shard, reader, i, out.layers.emplace_back()));
  if (c.draft_layers > 0) {
    FATHOM_TRY(out.mtp, read_mtp(c, shard, reader));
  }
  return out;
}

}  // namespace fathom
