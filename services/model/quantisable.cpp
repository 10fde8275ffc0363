#include "model/quantisable.h"

#include <initializer_list>

namespace fathom {
namespace {

// Over all weights that linear and experts multiply with.
class Looking {
 public:
  void layer(const LayerWeights& w) {
    std::visit([this](const auto& a) { attention(a); }, w.attention);
    const FeedForwardWeights& f = w.feed_forward;
    all({&f.dense.gate, &f.dense.up, &f.dense.down});
    for (const ExpertWeights& e : f.experts) all({&e.gate, &e.up, &e.down});
  }

  Status found() const {
    if (fp8_ == 0)
      return invalid(
          "fp8 quantises activations for FP8 weights with scales of 128 x 128 blocks; this "
          "checkpoint has none",
          "compute");
    if (cut_at_ > 0)
      return invalid(
          "fp8 wants the columns of each rank to begin at a multiple of 128; "
          "tensor_parallel cuts FP8 weights " +
              std::to_string(cut_at_) + " columns behind one",
          "compute");
    return {};
  }

 private:
  void attention(const MlaWeights& w) { all({&w.q_a, &w.q_b, &w.kv_a, &w.o}); }
  void attention(const GqaWeights& w) { all({&w.q, &w.k, &w.v, &w.o}); }

  void all(std::initializer_list<const Weight*> weights) {
    for (const Weight* w : weights) {
      if (w->data == nullptr || w->dtype != DType::f8_e4m3) continue;
      ++fp8_;
      if (w->scale_col != 0) cut_at_ = w->scale_col;
    }
  }

  int64_t fp8_ = 0;
  int32_t cut_at_ = 0;
};

}  // namespace

Status check_quantisable(const ModelWeights& weights) {
  Looking looking;
  for (const LayerWeights& layer : weights.layers) looking.layer(layer);
  if (weights.mtp) looking.layer(weights.mtp->layer);
  return looking.found();
}

}  // namespace fathom
