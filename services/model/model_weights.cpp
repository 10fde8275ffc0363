// Which tensors do all families hold, and who reads the rest? Embedding, last norm, vocabulary and
// the plain MLP have the same names everywhere; the layers are read by their architecture's file.
#include "model/weights.h"

namespace fathom {

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

Result<DenseWeights> read_mlp(WeightReader& reader, const std::string& prefix, int32_t hidden,
                              int32_t width) {
  DenseWeights out;
  FATHOM_TRY(out.gate, reader.matrix(prefix + "gate_proj.weight", width, hidden));
  FATHOM_TRY(out.up, reader.matrix(prefix + "up_proj.weight", width, hidden));
  FATHOM_TRY(out.down, reader.matrix(prefix + "down_proj.weight", hidden, width));
  return out;
}

Result<ModelWeights> read_model_weights(const ModelConfig& c, Shard shard, WeightReader& reader) {
  if (c.attention == AttentionKind::gqa) {
    FATHOM_TRY(LlamaWeights weights, read_llama_weights(c, shard, reader));
    return ModelWeights(std::move(weights));
  }
  FATHOM_TRY(DeepseekWeights weights, read_deepseek_weights(c, shard, reader));
  return ModelWeights(std::move(weights));
}

}  // namespace fathom
