// Which tensors does a layer of a Llama or Qwen2 checkpoint hold, and of what shape? Query heads
// are divided over the group, key-value heads as kv_heads_of says.
#include "model/weights.h"

namespace fathom {
namespace {

// One of k_proj and v_proj: the rows of this rank's run of key-value heads.
Status read_kv(const ModelConfig& c, Shard shard, WeightReader& reader, const std::string& name,
               Weight& weight, Weight& bias) {
  const int32_t rows = c.kv_heads * c.head_dim;
  const KvHeads heads = kv_heads_of(shard, c.heads, c.kv_heads);
  const int32_t begin = heads.first * c.head_dim, count = heads.count * c.head_dim;
  FATHOM_TRY(weight, reader.rows_of(name + ".weight", rows, c.hidden, begin, count));
  if (!c.qkv_bias) return {};
  FATHOM_TRY(const Weight whole, reader.wide_vector(name + ".bias", rows));
  bias = whole.slice_cols(begin, count);
  return {};
}

Status read_attention(const ModelConfig& c, Shard shard, WeightReader& reader,
                      const std::string& prefix, GqaWeights& out) {
  const int32_t q_rows = c.heads * c.head_dim;
  FATHOM_TRY(out.q, reader.matrix(prefix + "q_proj.weight", q_rows, c.hidden));
  if (c.qkv_bias) {
    FATHOM_TRY(out.q_bias, reader.wide_part(prefix + "q_proj.bias", q_rows));
  }
  out.first_kv_head = kv_heads_of(shard, c.heads, c.kv_heads).first;
  FATHOM_CHECKED(read_kv(c, shard, reader, prefix + "k_proj", out.k, out.k_bias));
  FATHOM_CHECKED(read_kv(c, shard, reader, prefix + "v_proj", out.v, out.v_bias));
  FATHOM_TRY(out.o, reader.matrix(prefix + "o_proj.weight", c.hidden, q_rows));
  if (c.output_bias) {
    FATHOM_TRY(out.o_bias, reader.wide_vector(prefix + "o_proj.bias", c.hidden));
  }
  return {};
}

Status read_mlp_bias(const ModelConfig& c, WeightReader& reader, const std::string& prefix,
                     FeedForwardWeights& out) {
  if (!c.mlp_bias) return {};
  FATHOM_TRY(out.gate_bias, reader.wide_part(prefix + "gate_proj.bias", c.intermediate));
  FATHOM_TRY(out.up_bias, reader.wide_part(prefix + "up_proj.bias", c.intermediate));
  FATHOM_TRY(out.down_bias, reader.wide_vector(prefix + "down_proj.bias", c.hidden));
  return {};
}

}  // namespace

Status read_llama_layer(const ModelConfig& c, Shard shard, WeightReader& reader,
                        const std::string& prefix, LayerWeights& out) {
  auto& attention = out.attention.emplace<GqaWeights>();
  FATHOM_CHECKED(read_attention(c, shard, reader, prefix + "self_attn.", attention));
  FATHOM_TRY(out.feed_forward.dense, read_mlp(reader, prefix + "mlp.", c.hidden, c.intermediate));
  return read_mlp_bias(c, reader, prefix + "mlp.", out.feed_forward);
}

}  // namespace fathom
