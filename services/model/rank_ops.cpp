#include "model/rank_ops.h"

namespace fathom {

void RankOps::embed(const Weight& embedding, const Batch& batch, std::span<float> out) const {
  parts_.ops->embed(parts_.context,
                    {.tokens = batch.tokens(), .table = embedding, .out = out.data()});
  parts_.context.scratch->reset();
}

void RankOps::norm(std::span<const float> x, int64_t x_stride, const Weight& weight, float eps,
                   std::span<float> out, int64_t out_stride) const {
  parts_.ops->rms_norm(parts_.context, {.x = x.data(),
                                        .x_stride = x_stride,
                                        .weight = weight,
                                        .eps = eps,
                                        .rows = rows_,
                                        .width = weight.cols,
                                        .out = out.data(),
                                        .out_stride = out_stride});
  parts_.context.scratch->reset();
}

void RankOps::linear(std::span<const float> x, int64_t x_stride, const Weight& weight,
                     std::span<float> y, bool exact) const {
  parts_.ops->linear(parts_.context, {.x = x.data(),
                                      .x_stride = x_stride,
                                      .rows = rows_,
                                      .weight = weight,
                                      .y = y.data(),
                                      .y_stride = weight.rows,
                                      .exact = exact});
  parts_.context.scratch->reset();
}

void RankOps::add_bias(const Weight& bias, std::span<float> y) const {
  if (bias.data == nullptr) return;
  CHECK(bias.dtype == DType::f32);
  const auto* b = static_cast<const float*>(bias.data);
  for (int64_t t = 0; t < rows_; ++t) {
    float* row = y.data() + t * bias.cols;
    for (int32_t i = 0; i < bias.cols; ++i) row[i] += b[i];
  }
}

void RankOps::rotate(const HeadsView& x, const RopeTable& rope, const Batch& batch) const {
  parts_.ops->rope(parts_.context, {.x = x.values.data(),
                                    .row_stride = x.row_stride,
                                    .head_stride = x.head_stride,
                                    .rows = rows_,
                                    .heads = x.heads,
                                    .width = 2 * static_cast<int32_t>(rope.frequencies.size()),
                                    .positions = batch.positions().data(),
                                    .frequencies = rope.frequencies.data(),
                                    .magnitude = rope.magnitude,
                                    .halves = rope.halves});
  parts_.context.scratch->reset();
}

Status RankOps::add_sum(std::span<float> part, std::span<float> residual) const {
  const auto count = static_cast<size_t>(rows_) * static_cast<size_t>(parts_.config->hidden);
  if (shard_.size > 1) FATHOM_CHECKED(parts_.comm->all_reduce(part.first(count)));
  parts_.ops->add(parts_.context,
                  {.x = residual.data(), .y = part.data(), .count = static_cast<int64_t>(count)});
  return {};
}

Status RankOps::wait_for_cache() const {
  if (parts_.barrier != nullptr && !parts_.barrier->arrive_and_wait())
    return Error{Code::unavailable, "another rank of this process gave up", "tensor_parallel"};
  return {};
}

void RankOps::tap(int32_t layer, std::string_view what, std::span<const float> values) const {
  if (!parts_.tap || shard_.rank != 0) return;
  const auto count = static_cast<size_t>(rows_) * static_cast<size_t>(parts_.config->hidden);
  parts_.tap(layer, what, values.first(count));
}

}  // namespace fathom
