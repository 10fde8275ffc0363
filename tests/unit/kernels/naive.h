// What should an operation compute? The formulas of the model in double precision, one loop each,
// with their own decoding of every stored type, so no code is shared with what is tested.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"
#include "kernels/ops.h"

namespace fathom::naive {

inline double decode_bits(uint32_t bits, int exponent_bits, int mantissa_bits, int bias) {
  const int sign = static_cast<int>(bits >> (exponent_bits + mantissa_bits)) & 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = static_cast<int>(bits) & ((1 << mantissa_bits) - 1);
  const double fraction = std::ldexp(mantissa, -mantissa_bits);
  const double value =
      exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return sign ? -value : value;
}

// Random values around zero; every 17th is zero and every 13th large.
inline std::vector<float> random_floats(size_t n, uint32_t seed, float spread = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> v(n);
  for (size_t i = 0; i < n; ++i)
    v[i] = i % 17 == 3 ? 0.0f : normal(generator) * (i % 13 == 5 ? 4.0f : 1.0f);
  return v;
}

inline float rounded_bf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  const uint32_t low = bits & 0xFFFF;
  bits &= 0xFFFF0000u;
  if (low > 0x8000 || (low == 0x8000 && (bits & 0x10000))) bits += 0x10000;
  std::memcpy(&v, &bits, 4);
  return v;
}

// A weight with its storage. `skew` makes it a slice of a larger FP8 matrix that begins inside a
// scale block.
struct Owned {
  std::vector<uint8_t> bytes;
  std::vector<float> scales;
  Weight view;

  double at(int32_t row, int32_t col) const {
    const int64_t i = row * view.row_stride + col;
    if (view.dtype == DType::f32) {
      float f;
      std::memcpy(&f, bytes.data() + i * 4, 4);
      return f;
    }
    if (view.dtype == DType::f8_e4m3) {
      const int r = (row + view.scale_row) / 128, c = (col + view.scale_col) / 128;
      return decode_bits(bytes[static_cast<size_t>(i)], 4, 3, 7) *
             double{view.scale[r * view.scale_stride + c]};
    }
    uint16_t h;
    std::memcpy(&h, bytes.data() + i * 2, 2);
    return view.dtype == DType::bf16 ? decode_bits(h, 8, 7, 127) : decode_bits(h, 5, 10, 15);
  }
  // As the products take it under `compute`.
  double at(int32_t row, int32_t col, Compute compute) const {
    const double v = at(row, col);
    return compute == Compute::float32 ? v : double{rounded_bf16(static_cast<float>(v))};
  }
};

inline Owned random_weight(DType dtype, int32_t rows, int32_t cols, uint32_t seed,
                           int32_t skew = 0) {
  Owned w;
  const int64_t stride = cols + skew % 5;
  w.bytes.resize(static_cast<size_t>(rows * stride * dtype_bytes(dtype)));
  std::mt19937 generator(seed);
  const auto values = random_floats(static_cast<size_t>(rows * stride), seed, 0.5f);
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t bits;
    std::memcpy(&bits, &values[i], 4);
    if (dtype == DType::f32) std::memcpy(&w.bytes[i * 4], &bits, 4);
    if (dtype == DType::bf16) {
      const auto h = static_cast<uint16_t>(bits >> 16);
      std::memcpy(&w.bytes[i * 2], &h, 2);
    }
    if (dtype == DType::f16) {  // any finite pattern of moderate size, subnormals included
      auto h = static_cast<uint16_t>(generator() & 0xBFFF);
      std::memcpy(&w.bytes[i * 2], &h, 2);
    }
    if (dtype == DType::f8_e4m3) {
      auto q = static_cast<uint8_t>(generator());
      w.bytes[i] = (q & 0x7F) == 0x7F ? uint8_t{0x41} : q;
    }
  }
  w.view = {
      .data = w.bytes.data(), .dtype = dtype, .rows = rows, .cols = cols, .row_stride = stride};
  if (dtype == DType::f8_e4m3) {
    w.view.scale_row = skew % 128;
    w.view.scale_col = skew * 3 % 128;
    w.view.scale_stride = (cols + w.view.scale_col + 127) / 128 + 1;
    const int64_t scale_rows = (rows + w.view.scale_row + 127) / 128;
    w.scales =
        random_floats(static_cast<size_t>(scale_rows * w.view.scale_stride), seed + 1, 0.01f);
    w.view.scale = w.scales.data();
  }
  return w;
}

// Whether the set rounds no FP8 weight to bf16 under bfloat16: docs/kernels.md.
inline bool exact_fp8(const std::string& table, DType dtype) {
  return (table == "amx" || table == "avx2") && dtype == DType::f8_e4m3;
}

inline double x_at(float v, Compute compute) {
  return compute == Compute::float32 ? v : rounded_bf16(v);
}

// Largest sum of absolute products is returned with the value: errors are judged against it.
struct Value {
  double value = 0, size = 0;
  void add(double v) {
    value += v;
    size += std::abs(v);
  }
};

inline Value dot(const float* x, const Owned& w, int32_t row, Compute compute,
                 bool exact_weights = false) {
  Value sum;
  for (int32_t k = 0; k < w.view.cols; ++k)
    sum.add(x_at(x[k], compute) * w.at(row, k, exact_weights ? Compute::float32 : compute));
  return sum;
}

// A row quantised for Compute::fp8: code * scale, the nearest of all codes, ties to the even one.
inline std::vector<float> quantised(const float* x, int32_t n) {
  std::vector<float> out(static_cast<size_t>(n));
  for (int32_t first = 0; first < n; first += 128) {
    const int32_t end = std::min(first + 128, n);
    float largest = 1e-4f;
    for (int32_t i = first; i < end; ++i) largest = std::max(largest, std::abs(x[i]));
    const float scale = largest / 448.0f;
    for (int32_t i = first; i < end; ++i) {
      const float v = std::abs(x[i] / scale);
      uint32_t best = 0;
      for (uint32_t code = 1; code < 0x7F; ++code) {
        const double here = std::abs(decode_bits(code, 4, 3, 7) - double{v});
        const double there = std::abs(decode_bits(best, 4, 3, 7) - double{v});
        if (here < there || (here == there && code % 2 == 0)) best = code;
      }
      const auto value = static_cast<float>(decode_bits(best, 4, 3, 7)) * scale;
      out[static_cast<size_t>(i)] = std::signbit(x[i]) ? -value : value;
    }
  }
  return out;
}

// One of everything an operation needs.
struct Machine {
  explicit Machine(const char* table, int threads = 1, Compute compute = Compute::float32)
      : ops(*cpu_ops_named(table)),
        lanes(make_lanes(threads)),
        scratch(make_scratch()),
        ctx{lanes.get(), scratch.get(), compute} {}
  const Ops& ops;
  std::unique_ptr<Lanes> lanes;
  std::unique_ptr<Scratch> scratch;
  OpContext ctx;
};

// y = x W^T of `rows` rows, dense.
inline std::vector<float> linear(const Machine& m, const std::vector<float>& x, int32_t rows,
                                 const Weight& w, bool exact = false) {
  std::vector<float> y(static_cast<size_t>(rows * w.rows));
  m.ops.linear(m.ctx, {.x = x.data(),
                       .x_stride = w.cols,
                       .rows = rows,
                       .weight = w,
                       .y = y.data(),
                       .y_stride = w.rows,
                       .exact = exact});
  return y;
}

inline std::vector<std::string> tables() {
  std::vector<std::string> names;
  for (const char* name : {"portable", "avx2", "avx512", "amx"})
    if (cpu_ops_named(name)) names.emplace_back(name);
  return names;
}

inline const char* name_of(DType t) {
  return t == DType::f32 ? "f32" : t == DType::bf16 ? "bf16" : t == DType::f16 ? "f16" : "f8";
}

}  // namespace fathom::naive
