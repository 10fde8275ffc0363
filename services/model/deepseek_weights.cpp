// Which tensors does a layer of a DeepSeek V2 or V3 checkpoint hold, and of what shape? Those of
// latent attention, then a dense MLP or a router with its experts.
#include "model/weights.h"

namespace fathom {
namespace {

Status read_bias(const ModelConfig& c, WeightReader& reader, const std::string& prefix,
                 MlaWeights& out) {
  if (c.qkv_bias) {
    FATHOM_TRY(out.kv_a_bias,
               reader.wide_vector(prefix + "kv_a_proj_with_mqa.bias", c.latent_width()));
  }
  if (c.qkv_bias && c.q_rank > 0) {  // q_proj never has one
    FATHOM_TRY(out.q_a_bias, reader.wide_vector(prefix + "q_a_proj.bias", c.q_rank));
  }
  if (c.output_bias) {
    FATHOM_TRY(out.o_bias, reader.wide_vector(prefix + "o_proj.bias", c.hidden));
  }
  return {};
}

Status read_attention(const ModelConfig& c, WeightReader& reader, const std::string& prefix,
                      MlaWeights& out) {
  const int32_t q_rows = c.heads * (c.nope + c.rope);
  if (c.q_rank == 0) {
    FATHOM_TRY(out.q_b, reader.matrix(prefix + "q_proj.weight", q_rows, c.hidden));
  } else {
    FATHOM_TRY(out.q_a, reader.matrix(prefix + "q_a_proj.weight", c.q_rank, c.hidden));
    FATHOM_TRY(out.q_a_norm, reader.vector(prefix + "q_a_layernorm.weight", c.q_rank));
    FATHOM_TRY(out.q_b, reader.matrix(prefix + "q_b_proj.weight", q_rows, c.q_rank));
  }
  FATHOM_TRY(out.kv_a,
             reader.matrix(prefix + "kv_a_proj_with_mqa.weight", c.latent_width(), c.hidden));
  FATHOM_TRY(out.kv_a_norm, reader.vector(prefix + "kv_a_layernorm.weight", c.kv_rank));
  FATHOM_TRY(out.kv_b,
             reader.matrix(prefix + "kv_b_proj.weight", c.heads * (c.nope + c.value), c.kv_rank));
  FATHOM_TRY(out.o, reader.matrix(prefix + "o_proj.weight", c.hidden, c.heads * c.value));
  return read_bias(c, reader, prefix, out);
}

Status read_experts(const ModelConfig& c, Shard shard, WeightReader& reader,
                    const std::string& prefix, FeedForwardWeights& out) {
  FATHOM_TRY(out.router, reader.matrix(prefix + "gate.weight", c.experts, c.hidden));
  if (c.router_bias) {
    FATHOM_TRY(out.router_bias,
               reader.wide_vector(prefix + "gate.e_score_correction_bias", c.experts));
  }
  if (c.shared_experts > 0) {
    FATHOM_TRY(out.dense,
               read_mlp(reader, prefix + "shared_experts.", c.hidden, c.shared_intermediate()));
  }
  const int32_t first = shard.first_expert(c.experts);
  for (int32_t e = first; e < first + shard.expert_part(c.experts); ++e) {
    const std::string expert = prefix + "experts." + std::to_string(e) + ".";
    FATHOM_TRY(const DenseWeights w, read_mlp(reader, expert, c.hidden, c.expert_intermediate));
    out.experts.push_back({w.gate, w.up, w.down});
  }
  return {};
}

}  // namespace

Status read_deepseek_layer(const ModelConfig& c, Shard shard, WeightReader& reader, int32_t index,
                           const std::string& prefix, LayerWeights& out) {
  auto& attention = out.attention.emplace<MlaWeights>();
  FATHOM_CHECKED(read_attention(c, reader, prefix + "self_attn.", attention));
  if (c.moe(index)) return read_experts(c, shard, reader, prefix + "mlp.", out.feed_forward);
  FATHOM_TRY(out.feed_forward.dense, read_mlp(reader, prefix + "mlp.", c.hidden, c.intermediate));
  return {};
}

}  // namespace fathom
