#include "model/traffic.h"

#include <charconv>
#include <cmath>
#include <string_view>

namespace fathom {
namespace {

constexpr std::string_view kLayers = "model.layers.";

// The number after "model.layers."; -1 for a tensor outside the layers.
int32_t layer_of(std::string_view name) {
  if (!name.starts_with(kLayers)) return -1;
  int32_t layer = -1;
  name.remove_prefix(kLayers.size());
  std::from_chars(name.data(), name.data() + name.size(), layer);
  return layer;
}

// Scales and vectors are read, but multiply as good as nothing.
double products_of(const StoredTensor& tensor) {
  if (tensor.shape.size() != 2 || tensor.name.ends_with("_scale_inv")) return 0;
  return static_cast<double>(tensor.shape[0]) * static_cast<double>(tensor.shape[1]);
}

double pair_products(const ModelConfig& c) {
  const int32_t width =
      c.attention == AttentionKind::mla ? c.nope + c.rope + c.value : 2 * c.head_dim;
  return static_cast<double>(c.layers) * c.heads * width;
}

}  // namespace

double Traffic::step_bytes(int32_t rows, int32_t context) const {
  const double missed = experts > 0 ? std::pow(1.0 - double{1} * chosen / experts, rows) : 1.0;
  return always_bytes + experts_bytes * (1.0 - missed) + kv_bytes * rows * context;
}

double Traffic::prompt_flops(int32_t tokens) const {
  const double n = tokens;
  return 2 *
         (n * (row_products + expert_products) + head_products + pair_products * n * (n + 1) / 2);
}

Traffic model_traffic(const Checkpoint& checkpoint, const ModelConfig& config,
                      const KvLayout& layout) {
  Traffic out{.pair_products = pair_products(config),
              .kv_bytes = static_cast<double>(layout.block_bytes) / layout.block_tokens,
              .experts = config.experts,
              .chosen = config.experts_chosen};
  double experts = 0;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const std::string_view name = tensor.name;
    const auto bytes = static_cast<double>(tensor.bytes.size());
    if (layer_of(name) >= config.layers) continue;  // multi-token prediction
    if (name.find(".mlp.experts.") != std::string_view::npos) {
      out.experts_bytes += bytes;
      experts += products_of(tensor);
      continue;
    }
    const bool embedding = name == "model.embed_tokens.weight";
    if (embedding && !config.tied_embeddings) continue;  // one row of it a token
    out.always_bytes += bytes;
    (embedding || name == "lm_head.weight" ? out.head_products : out.row_products) +=
        products_of(tensor);
  }
  if (config.experts > 0) out.expert_products = experts * config.experts_chosen / config.experts;
  return out;
}

}  // namespace fathom
