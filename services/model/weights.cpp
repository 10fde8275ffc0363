#include "model/weights.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

namespace fathom {
namespace {

std::optional<DType> kernel_type(StoredType type) {
  switch (type) {
    case StoredType::f32:
      return DType::f32;
    case StoredType::bf16:
      return DType::bf16;
    case StoredType::f16:
      return DType::f16;
    case StoredType::f8_e4m3:
      return DType::f8_e4m3;
    default:
      return std::nullopt;
  }
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

float widen_half(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const int exponent = (h >> 10) & 31;
  const auto mantissa = static_cast<float>(h & 1023);
  float value =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(mantissa + 1024, exponent - 25);
  if (exponent == 31) value = mantissa == 0 ? INFINITY : NAN;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

uint64_t row_bytes(const Weight& w) { return static_cast<uint64_t>(w.cols * dtype_bytes(w.dtype)); }

// One value of a scale table; NaN for a type that can not be one.
float widen(StoredType type, const std::byte* at) {
  uint16_t half = 0;
  switch (type) {
    case StoredType::f32: {
      float f = 0;
      std::memcpy(&f, at, 4);
      return f;
    }
    case StoredType::bf16:
      std::memcpy(&half, at, 2);
      return std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
    case StoredType::f16:
      std::memcpy(&half, at, 2);
      return widen_half(half);
    case StoredType::f8_e8m0:  // a power of two: 2^(byte - 127), 255 is NaN
      return *at == std::byte{255} ? NAN : std::ldexp(1.0f, std::to_integer<int>(*at) - 127);
    default:
      return NAN;
  }
}

}  // namespace

Error WeightReader::wrong(const StoredTensor& tensor, std::string what) const {
  return {Code::invalid_argument, "tensor " + tensor.name + ": " + std::move(what),
          checkpoint_.file_of(tensor)};
}

// Kernels load whole elements; a file may place a tensor at any byte.
const std::byte* WeightReader::aligned(const StoredTensor& tensor) {
  const auto bytes = static_cast<uintptr_t>(stored_type_bytes(tensor.type));
  if (!reads_ || reinterpret_cast<uintptr_t>(tensor.bytes.data()) % bytes == 0)
    return tensor.bytes.data();
  auto& copy = copies_.emplace_back((tensor.bytes.size() + 7) / 8);
  std::memcpy(copy.data(), tensor.bytes.data(), tensor.bytes.size());
  return reinterpret_cast<const std::byte*>(copy.data());
}

Status WeightReader::attach_scales(Weight& weight, const StoredTensor& tensor) {
  const StoredTensor* scale = checkpoint_.find(tensor.name + "_scale_inv");
  if (scale == nullptr)
    return wrong(tensor, "is FP8, but " + tensor.name + "_scale_inv is missing");
  const auto blocks = [](int32_t n) { return int64_t{(n + kScaleBlock - 1) / kScaleBlock}; };
  const std::vector<int64_t> shape = {blocks(weight.rows), blocks(weight.cols)};
  if (scale->shape != shape)
    return wrong(*scale, "has shape " + shape_text(scale->shape) + ", not " + shape_text(shape));
  weight.scale_stride = shape[1];
  scale_tables_.push_back(scale->bytes);
  if (!reads_) return {};
  const auto count = static_cast<size_t>(shape[0] * shape[1]);
  const auto step = static_cast<size_t>(stored_type_bytes(scale->type));
  std::vector<float> wide(count);
  for (size_t i = 0; i < count; ++i) {
    wide[i] = widen(scale->type, scale->bytes.data() + i * step);
    if (!std::isfinite(wide[i]))
      return wrong(*scale, "value " + std::to_string(i) + " of type " +
                               std::string(stored_type_name(scale->type)) +
                               " is not a finite scale");
  }
  if (scale->type == StoredType::f32 && aligned(*scale) == scale->bytes.data()) {
    weight.scale = reinterpret_cast<const float*>(scale->bytes.data());
  } else {
    weight.scale = scales_.emplace_back(std::move(wide)).data();
  }
  return {};
}

Result<Weight> WeightReader::view(const std::string& name, const std::vector<int64_t>& shape) {
  const StoredTensor* tensor = checkpoint_.find(name);
  if (tensor == nullptr)
    return Error{Code::invalid_argument, "tensor " + name + " is missing from the checkpoint",
                 checkpoint_.files().empty() ? std::string() : checkpoint_.files().front()};
  if (tensor->shape != shape)
    return wrong(*tensor, "has shape " + shape_text(tensor->shape) + ", config.json says " +
                              shape_text(shape));
  const auto type = kernel_type(tensor->type);
  if (!type)
    return wrong(*tensor, "is " + std::string(stored_type_name(tensor->type)) +
                              "; served are F32, BF16, F16 and F8_E4M3");
  Weight w;
  w.dtype = *type;
  w.rows = shape.size() == 1 ? 1 : static_cast<int32_t>(shape[0]);
  w.cols = static_cast<int32_t>(shape.back());
  w.row_stride = w.cols;
  w.data = aligned(*tensor);
  if (*type == DType::f8_e4m3) {
    if (shape.size() == 1)
      return wrong(*tensor, "is a vector of FP8, which no published model has");
    FATHOM_CHECKED(attach_scales(w, *tensor));
  }
  return w;
}

Result<Weight> WeightReader::matrix(const std::string& name, int32_t rows, int32_t cols) {
  FATHOM_TRY(Weight w, view(name, {rows, cols}));
  const ShardRule* rule = find_shard_rule(name);
  CHECK(rule != nullptr, "no shard rule for " + name);
  if (rule->split == Split::rows) w = w.slice_rows(shard_.begin(rows), shard_.part(rows));
  if (rule->split == Split::columns) w = w.slice_cols(shard_.begin(cols), shard_.part(cols));
  parts_.push_back(w);
  return w;
}

Result<Weight> WeightReader::rows_of(const std::string& name, int32_t rows, int32_t cols,
                                     int32_t begin, int32_t count) {
  FATHOM_TRY(const Weight w, view(name, {rows, cols}));
  parts_.push_back(w.slice_rows(begin, count));
  return parts_.back();
}

Result<Weight> WeightReader::vector(const std::string& name, int32_t width) {
  CHECK(find_shard_rule(name) != nullptr, "no shard rule for " + name);
  FATHOM_TRY(Weight w, view(name, {width}));
  parts_.push_back(w);
  return w;
}

Result<Weight> WeightReader::wide_vector(const std::string& name, int32_t width) {
  FATHOM_TRY(Weight w, vector(name, width));
  if (w.dtype == DType::f32 || !reads_) return w;
  const StoredTensor& tensor = *checkpoint_.find(name);
  auto& wide = scales_.emplace_back(static_cast<size_t>(width));
  const auto step = static_cast<size_t>(stored_type_bytes(tensor.type));
  for (size_t i = 0; i < wide.size(); ++i)
    wide[i] = widen(tensor.type, tensor.bytes.data() + i * step);
  w.data = wide.data();
  w.dtype = DType::f32;
  return w;
}

Result<Weight> WeightReader::wide_part(const std::string& name, int32_t width) {
  FATHOM_TRY(const Weight whole, wide_vector(name, width));
  return whole.slice_cols(shard_.begin(width), shard_.part(width));
}

uint64_t WeightReader::bytes() const {
  uint64_t total = 0;
  for (const Weight& w : parts_) total += row_bytes(w) * static_cast<uint64_t>(w.rows);
  return total;
}

std::vector<std::span<const std::byte>> WeightReader::extents() const {
  std::vector<std::span<const std::byte>> out = scale_tables_;
  for (const Weight& w : parts_) {
    if (w.rows == 0) continue;
    // A run of columns lies between those of other ranks; a page holds some of each.
    const auto stride = static_cast<size_t>(w.row_stride * dtype_bytes(w.dtype));
    out.emplace_back(static_cast<const std::byte*>(w.data),
                     stride * static_cast<size_t>(w.rows - 1) + row_bytes(w));
  }
  return out;
}

}  // namespace fathom
