#include "model/place_weights.h"

#include <initializer_list>

namespace fathom {
namespace {

class Placing {
 public:
  Placing(PlacedWeights& placed, const std::function<void(uint64_t)>& progress)
      : placed_(placed), progress_(progress) {}

  Status all(std::initializer_list<Weight*> weights) {
    for (Weight* w : weights) {
      FATHOM_TRY(*w, placed_.place(*w));
    }
    if (progress_) progress_(placed_.bytes());
    return {};
  }

  Status ends(EndWeights& w) { return all({&w.embed, &w.final_norm, &w.lm_head}); }

  Status feed_forward(FeedForwardWeights& w) {
    FATHOM_CHECKED(all({&w.dense.gate, &w.dense.up, &w.dense.down, &w.router, &w.router_bias,
                        &w.gate_bias, &w.up_bias, &w.down_bias}));
    FATHOM_TRY(w.experts, placed_.place_experts(w.experts));
    return all({});
  }

  Status attention(MlaWeights& a) {
    return all({&a.q_a, &a.q_a_norm, &a.q_b, &a.kv_a, &a.kv_a_norm, &a.kv_b, &a.o, &a.q_a_bias,
                &a.kv_a_bias, &a.o_bias});
  }

  Status attention(GqaWeights& a) {
    return all({&a.q, &a.o, &a.k, &a.v, &a.q_bias, &a.k_bias, &a.v_bias, &a.o_bias});
  }

  Status layer(LayerWeights& w) {
    FATHOM_CHECKED(all({&w.input_norm, &w.post_norm}));
    FATHOM_CHECKED(std::visit([this](auto& a) { return attention(a); }, w.attention));
    return feed_forward(w.feed_forward);
  }

  Status mtp(MtpWeights& w) {
    FATHOM_CHECKED(all({&w.token_norm, &w.hidden_norm, &w.join, &w.head_norm}));
    return layer(w.layer);
  }

 private:
  PlacedWeights& placed_;
  const std::function<void(uint64_t)>& progress_;
};

}  // namespace

Result<ModelWeights> place_weights(const ModelWeights& weights, PlacedWeights& placed,
                                   const std::function<void(uint64_t bytes)>& progress) {
  Placing placing(placed, progress);
  ModelWeights out = weights;
  FATHOM_CHECKED(placing.ends(out.ends));
  for (LayerWeights& layer : out.layers) FATHOM_CHECKED(placing.layer(layer));
  if (out.mtp) FATHOM_CHECKED(placing.mtp(*out.mtp));
  return out;
}

}  // namespace fathom
