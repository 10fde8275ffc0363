#include "kernels/placed.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace fathom {
namespace {

constexpr uint64_t kAlign = 256;
constexpr int64_t kRowAlign = 16;

uint64_t up_to(uint64_t n, uint64_t step) { return (n + step - 1) / step * step; }

int64_t row_bytes(const Weight& w) { return w.cols * dtype_bytes(w.dtype); }
int64_t stride_bytes(const Weight& w) {
  return static_cast<int64_t>(up_to(static_cast<uint64_t>(row_bytes(w)), kRowAlign));
}
uint64_t matrix_bytes(const Weight& w) {
  return static_cast<uint64_t>(w.rows) * static_cast<uint64_t>(stride_bytes(w));
}

// The part of the scale table this view of a matrix touches.
int64_t scale_rows(const Weight& w) {
  return (w.rows + w.scale_row + kScaleBlock - 1) / kScaleBlock;
}
int64_t scale_cols(const Weight& w) {
  return (w.cols + w.scale_col + kScaleBlock - 1) / kScaleBlock;
}
uint64_t scale_bytes(const Weight& w) {
  return w.scale == nullptr ? 0
                            : static_cast<uint64_t>(scale_rows(w) * scale_cols(w)) * sizeof(float);
}

Weight moved(const Weight& w, const std::byte* data, const std::byte* scales) {
  Weight out = w;
  out.data = data;
  out.row_stride = stride_bytes(w) / dtype_bytes(w.dtype);
  if (w.scale != nullptr) {
    out.scale = reinterpret_cast<const float*>(scales);
    out.scale_stride = scale_cols(w);
  }
  return out;
}

}  // namespace

PlacedWeights::~PlacedWeights() {
  for (void* memory : owned_) device_.release(memory);
}

Result<std::byte*> PlacedWeights::take(uint64_t bytes) {
  void* memory = device_.allocate(bytes);
  if (memory == nullptr)
    return Error{Code::resource_exhausted,
                 "no memory for another " + std::to_string(bytes) + " bytes of weights, after " +
                     std::to_string(bytes_) + "; " + std::to_string(device_.free_bytes()) +
                     " bytes are free",
                 "device"};
  owned_.push_back(memory);
  bytes_ += bytes;
  return static_cast<std::byte*>(memory);
}

// In pieces of whole rows, so that a matrix whose rows lie as they should is few large copies.
void PlacedWeights::put_rows(std::byte* to, int64_t stride, const Weight& from) {
  const auto* source = static_cast<const std::byte*>(from.data);
  const int64_t source_stride = from.row_stride * dtype_bytes(from.dtype);
  const int64_t width = row_bytes(from);
  if (source_stride == stride && width == stride) {
    device_.upload(to, source, static_cast<size_t>(from.rows * stride));
    return;
  }
  const int64_t piece = std::max<int64_t>(1, (int64_t{4} << 20) / stride);
  std::vector<std::byte> packed(static_cast<size_t>(piece * stride));
  for (int64_t row = 0; row < from.rows; row += piece) {
    const int64_t rows = std::min<int64_t>(piece, from.rows - row);
    for (int64_t r = 0; r < rows; ++r)
      std::memcpy(packed.data() + r * stride, source + (row + r) * source_stride,
                  static_cast<size_t>(width));
    device_.upload(to + row * stride, packed.data(), static_cast<size_t>(rows * stride));
  }
}

void PlacedWeights::put_scales(std::byte* to, const Weight& from) {
  if (from.scale == nullptr) return;
  std::vector<float> table;
  for (int64_t r = 0; r < scale_rows(from); ++r)
    table.insert(table.end(), from.scale + r * from.scale_stride,
                 from.scale + r * from.scale_stride + scale_cols(from));
  device_.upload(to, table.data(), table.size() * sizeof(float));
}

Result<Weight> PlacedWeights::place(const Weight& weight) {
  if (device_.is_host() || weight.data == nullptr) return weight;
  const uint64_t data = up_to(matrix_bytes(weight), kAlign);
  FATHOM_TRY(std::byte * memory, take(data + scale_bytes(weight)));
  put_rows(memory, stride_bytes(weight), weight);
  put_scales(memory + data, weight);
  return moved(weight, memory, memory + data);
}

Result<std::vector<ExpertWeights>> PlacedWeights::place_experts(
    std::span<const ExpertWeights> experts) {
  std::vector<ExpertWeights> out(experts.begin(), experts.end());
  if (device_.is_host() || experts.empty()) return out;
  const ExpertWeights& first = experts.front();
  const uint64_t gate = matrix_bytes(first.gate);
  const uint64_t pair = up_to(2 * gate, kAlign), down = up_to(matrix_bytes(first.down), kAlign);
  const uint64_t gate_scales = up_to(scale_bytes(first.gate), kAlign),
                 down_scales = up_to(scale_bytes(first.down), kAlign);
  const auto count = static_cast<uint64_t>(experts.size());
  FATHOM_TRY(std::byte * memory, take(count * (pair + down + 2 * gate_scales + down_scales)));
  std::byte* downs = memory + count * pair;
  std::byte* scales = downs + count * down;
  for (uint64_t e = 0; e < count; ++e) {
    const ExpertWeights& from = experts[e];
    CHECK(matrix_bytes(from.gate) == gate && matrix_bytes(from.up) == gate &&
              from.down.rows == first.down.rows && from.down.cols == first.down.cols,
          "experts of one layer have one shape");
    std::byte* gates = memory + e * pair;
    std::byte* s = scales + e * (2 * gate_scales + down_scales);
    put_rows(gates, stride_bytes(from.gate), from.gate);
    put_rows(gates + gate, stride_bytes(from.up), from.up);
    put_rows(downs + e * down, stride_bytes(from.down), from.down);
    put_scales(s, from.gate);
    put_scales(s + gate_scales, from.up);
    put_scales(s + 2 * gate_scales, from.down);
    out[e] = {moved(from.gate, gates, s), moved(from.up, gates + gate, s + gate_scales),
              moved(from.down, downs + e * down, s + 2 * gate_scales)};
  }
  return out;
}

Result<const void*> PlacedWeights::place_bytes(const void* from, size_t bytes) {
  FATHOM_TRY(std::byte * memory, take(bytes));
  device_.upload(memory, from, bytes);
  return static_cast<const void*>(memory);
}

}  // namespace fathom
