#include "model/rank_ops.h"

namespace fathom {

DeviceRope::DeviceRope(Device& device, RopeTable host)
    : table(std::move(host)), frequencies(device) {
  const auto count = table.frequencies.size();
  frequencies.at_least(static_cast<int64_t>(count));
  device.upload(frequencies.data(), table.frequencies.data(), count * sizeof(float));
}

void RankOps::feed(const BatchTables& batch) const {
  FeedTokensParams feeding = batch.feeding();
  if (feeding.rows == 0) return;
  CHECK(parts_.drawn != nullptr);
  feeding.drawn = parts_.drawn->data();
  parts_.ops->feed_tokens(parts_.context, feeding);
  parts_.context.scratch->reset();
}

void RankOps::embed(const Weight& embedding, const BatchTables& batch, float* out) const {
  parts_.ops->embed(parts_.context, {.tokens = batch.tokens(), .table = embedding, .out = out});
  parts_.context.scratch->reset();
}

void RankOps::norm(const float* x, int64_t x_stride, const Weight& weight, float eps,
                   const RowsView& out) const {
  parts_.ops->rms_norm(parts_.context, {.x = x,
                                        .x_stride = x_stride,
                                        .weight = weight,
                                        .eps = eps,
                                        .rows = rows_,
                                        .width = weight.cols,
                                        .out = out.data,
                                        .out_dtype = out.dtype,
                                        .out_stride = out.stride,
                                        .codes = out.codes});
  parts_.context.scratch->reset();
}

void RankOps::add_norm(float* x, const float* part, const Weight& weight,
                       const RowsView& out) const {
  parts_.ops->add_norm(parts_.context, {.x = x,
                                        .add = part,
                                        .weight = weight,
                                        .eps = parts_.config->norm_eps,
                                        .rows = rows_,
                                        .width = weight.cols,
                                        .out = out.data,
                                        .out_dtype = out.dtype,
                                        .out_stride = out.stride,
                                        .codes = out.codes});
  parts_.context.scratch->reset();
}

void RankOps::linear(const RowsView& x, const Weight& weight, float* y, bool exact) const {
  parts_.ops->linear(parts_.context, {.x = x.data,
                                      .x_dtype = x.dtype,
                                      .x_stride = x.stride,
                                      .rows = rows_,
                                      .weight = weight,
                                      .codes = x.codes,
                                      .y = y,
                                      .y_stride = weight.rows,
                                      .exact = exact});
  parts_.context.scratch->reset();
}

void RankOps::add_bias(const Weight& bias, float* y) const {
  if (bias.data == nullptr) return;
  CHECK(bias.dtype == DType::f32);
  parts_.ops->add_bias(
      parts_.context,
      {.y = y, .bias = static_cast<const float*>(bias.data), .rows = rows_, .width = bias.cols});
  parts_.context.scratch->reset();
}

void RankOps::gather(const float* x, const int32_t* from, int32_t width, float* out) const {
  parts_.ops->gather_rows(
      parts_.context,
      {.x = x, .x_stride = width, .from = from, .rows = rows_, .width = width, .out = out});
  parts_.context.scratch->reset();
}

void RankOps::rotate(const HeadsView& x, const DeviceRope& rope, const BatchTables& batch) const {
  parts_.ops->rope(parts_.context,
                   {.x = x.values,
                    .row_stride = x.row_stride,
                    .head_stride = x.head_stride,
                    .rows = rows_,
                    .heads = x.heads,
                    .width = 2 * static_cast<int32_t>(rope.table.frequencies.size()),
                    .positions = batch.positions(),
                    .frequencies = rope.frequencies.data(),
                    .magnitude = rope.table.magnitude,
                    .halves = rope.table.halves});
  parts_.context.scratch->reset();
}

Status RankOps::sum(float* part) const {
  const int64_t count = int64_t{rows_} * parts_.config->hidden;
  if (parts_.collectives != nullptr) return parts_.collectives->all_reduce(part, count);
  if (shard_.size == 1) return {};
  return parts_.comm->all_reduce(std::span(part, static_cast<size_t>(count)));
}

Status RankOps::add_sum(float* part, float* residual) const {
  FATHOM_CHECKED(sum(part));
  parts_.ops->add(parts_.context,
                  {.x = residual, .y = part, .count = int64_t{rows_} * parts_.config->hidden});
  return {};
}

Status RankOps::gather_columns(const float* mine, int32_t part, Buffer<float>& gathered,
                               float* out) const {
  const int64_t count = int64_t{rows_} * part;
  gathered.at_least(count * shard_.size);
  if (parts_.collectives != nullptr) {
    FATHOM_CHECKED(parts_.collectives->all_gather(mine, gathered.data(), count));
  } else {
    FATHOM_CHECKED(parts_.comm->all_gather(
        std::span(mine, static_cast<size_t>(count)),
        std::span(gathered.data(), static_cast<size_t>(count * shard_.size))));
  }
  if (shard_.rank != 0) return {};
  const auto width = static_cast<size_t>(part) * sizeof(float);
  for (int32_t r = 0; r < shard_.size; ++r)
    device().copy_rows(out + int64_t{r} * part, width * static_cast<size_t>(shard_.size),
                       gathered.data() + r * count, width, width, static_cast<size_t>(rows_));
  return {};
}

Status RankOps::replay(const ReplayKey& key, const std::function<Status()>& say) const {
  Status status;
  const bool together = parts_.collectives != nullptr || parts_.experts != nullptr;
  const auto agree = [&](int32_t word) -> int32_t {
    const auto least = parts_.collectives != nullptr ? parts_.collectives->agree(word)
                                                     : parts_.experts->agree(word);
    if (!least.ok())
      status = least.error();
    else if (*least < 0)
      status = Error{Code::unavailable, "the GPU of a rank of this group failed", "rank"};
    return status.ok() ? *least : -1;
  };
  device().replay(key, [&] { status = say(); }, together ? Device::Agree(agree) : Device::Agree());
  return status;
}

Result<int32_t> RankOps::begin_pass(int32_t rows, std::optional<Padding>& padding) const {
  if (parts_.experts == nullptr) return 0;
  FATHOM_TRY(const PassShape shape, parts_.experts->begin(rows, padding ? padding->rows : 0));
  if (shape.recorded)
    padding->rows = shape.rows;
  else
    padding.reset();
  return shape.rows;
}

Status RankOps::experts(const ExpertsParams& p) const {
  if (parts_.experts != nullptr) return parts_.experts->run(parts_.context, *parts_.ops, p);
  parts_.ops->experts(parts_.context, p);
  parts_.context.scratch->reset();
  return {};
}

Status RankOps::wait_for_cache() const {
  if (parts_.barrier != nullptr && !parts_.barrier->arrive_and_wait())
    return Error{Code::unavailable, "another rank of this process gave up", "tensor_parallel"};
  return {};
}

void RankOps::tap(int32_t layer, std::string_view what, const float* values) const {
  if (!has_tap() || shard_.rank != 0) return;
  std::vector<float> host(static_cast<size_t>(rows_) * static_cast<size_t>(parts_.config->hidden));
  if (device().download(host.data(), values, host.size() * sizeof(float)).ok())
    parts_.tap(layer, what, host);
}

}  // namespace fathom
