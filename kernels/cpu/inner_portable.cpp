// How are the inner loops done in plain C++? With arrays of 16 lanes that any compiler turns into
// whatever vectors it has. This is the reference the others are tested against; it keeps the lane
// order of inner.h.
#include <cmath>
#include <limits>

#include "kernels/cpu/convert.h"
#include "kernels/cpu/inner.h"

namespace fathom {
namespace {

constexpr int kLanes = 16;

float tree(const float* lanes) {
  float a[8];
  for (int i = 0; i < 8; ++i) a[i] = lanes[i] + lanes[i + 8];
  for (int i = 0; i < 4; ++i) a[i] += a[i + 4];
  return (a[0] + a[2]) + (a[1] + a[3]);
}

float dot(const float* x, const float* w, int32_t n) {
  float acc[kLanes] = {};
  int32_t k = 0;
  for (; k + kLanes <= n; k += kLanes)
    for (int i = 0; i < kLanes; ++i) acc[i] += x[k + i] * w[k + i];
  for (int i = 0; k + i < n; ++i) acc[i] += x[k + i] * w[k + i];
  return tree(acc);
}

float round_bf16(float v) { return widen_bf16(narrow_bf16(v)); }

void widen_fp8(const Weight& w, int32_t row, float* out) {
  const auto* q = static_cast<const uint8_t*>(w.data) + row * w.row_stride;
  const float* scale = w.scale + (row + w.scale_row) / kScaleBlock * w.scale_stride;
  for (int32_t i = 0; i < w.cols; ++i)
    out[i] = widen_e4m3(q[i]) * scale[(i + w.scale_col) / kScaleBlock];
}

void widen(const Weight& w, int32_t row, bool round, float* out) {
  const int64_t at = row * w.row_stride;
  if (w.dtype == DType::f32) {
    const auto* v = static_cast<const float*>(w.data) + at;
    for (int32_t i = 0; i < w.cols; ++i) out[i] = v[i];
  } else if (w.dtype == DType::bf16) {
    const auto* v = static_cast<const uint16_t*>(w.data) + at;
    for (int32_t i = 0; i < w.cols; ++i) out[i] = widen_bf16(v[i]);
    return;
  } else if (w.dtype == DType::f16) {
    const auto* v = static_cast<const uint16_t*>(w.data) + at;
    for (int32_t i = 0; i < w.cols; ++i) out[i] = widen_f16(v[i]);
  } else {
    widen_fp8(w, row, out);
  }
  if (round)
    for (int32_t i = 0; i < w.cols; ++i) out[i] = round_bf16(out[i]);
}

void dots(const DotsParams& p) {
  const auto* x = static_cast<const float*>(p.x.data);
  for (int32_t o = 0; o < p.outs; ++o) {
    widen(p.w, p.first + o, p.round, p.panel);
    for (int32_t r = 0; r < p.x.count; ++r)
      p.y[r * p.y_stride + o] = dot(x + r * p.x.stride, p.panel, p.w.cols);
  }
}

void combine(const CombineParams& p) {
  for (int32_t r = 0; r < p.rows; ++r) {
    float* z = p.z + r * p.z_stride;
    for (int32_t t = 0; t < p.depth; ++t) {
      const float a = p.p[r * p.p_stride + t];
      const float* c = p.c + t * p.c_stride;
      for (int32_t j = 0; j < p.width; ++j) z[j] += a * c[j];
    }
  }
}

void pack(const float* x, int32_t n, int32_t padded, uint16_t* out) {
  for (int32_t i = 0; i < n; ++i) out[i] = narrow_bf16(x[i]);
  for (int32_t i = n; i < padded; ++i) out[i] = 0;
}

float sum_squares(const float* x, int32_t n) { return dot(x, x, n); }

void scale_by(const float* x, const float* w, float factor, int32_t n, float* out) {
  for (int32_t i = 0; i < n; ++i) out[i] = w[i] * (x[i] * factor);
}

void swiglu(const float* gate, const float* up, int32_t n, float* out) {
  for (int32_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

float softmax_tile(float* s, int32_t n, float scale, SoftmaxState* state) {
  float largest = state->largest;
  for (int32_t i = 0; i < n; ++i) {
    s[i] *= scale;
    if (s[i] > largest) largest = s[i];
  }
  const float shrink = state->largest == largest ? 1.0f : std::exp(state->largest - largest);
  float lanes[kLanes] = {};
  for (int32_t i = 0; i < n; ++i) {
    s[i] = std::exp(s[i] - largest);
    lanes[i % kLanes] += s[i];
  }
  state->sum = state->sum * shrink + tree(lanes);
  state->largest = largest;
  return shrink;
}

void multiply(float* x, float factor, int32_t n) {
  for (int32_t i = 0; i < n; ++i) x[i] *= factor;
}

void add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

void axpy(float* x, float factor, const float* y, int32_t n) {
  for (int32_t i = 0; i < n; ++i) x[i] += factor * y[i];
}

int64_t burst(int64_t steps, float* sink) {
  float acc[kLanes] = {};
  for (int64_t s = 0; s < steps; ++s)
    for (float& a : acc) a = a * 0.5f + 1.0f;
  *sink = tree(acc);
  return steps * kLanes;
}

}  // namespace

const Inner kInnerPortable = {
    .name = "portable",
    .packs_bf16 = false,
    .dots = dots,
    .combine = combine,
    .widen = widen,
    .pack = pack,
    .sum_squares = sum_squares,
    .scale_by = scale_by,
    .swiglu = swiglu,
    .softmax_tile = softmax_tile,
    .multiply = multiply,
    .add = add,
    .axpy = axpy,
    .burst = burst,
};

}  // namespace fathom
