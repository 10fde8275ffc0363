// How is a row quantised on a CPU? 128 columns at a time: their largest magnitude becomes 448, the
// largest of e4m3, and every value the nearest that e4m3 has. Loops a compiler makes vectors of.
#include "kernels/cpu/quantised.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/convert.h"

namespace fathom::cpu {
namespace {

constexpr float kLargest = 448, kSmallestScaled = 1e-4f;

// The nearest of e4m3, ties to even, for magnitudes that round to 448 at most; NaN stays NaN. A
// number is rounded to steps of 2^(e - 3), and of 2^-9 below 2^-6, by adding what is so large that
// this is its last place.
float nearest_e4m3(float v) {
  const float magnitude = std::max(std::fabs(v), 0x1p-6f);
  const uint32_t exponent = bits_of_float(magnitude) & 0x7F800000u;
  const float large = float_of_bits(exponent + (20u << 23)) * 1.5f;
  return (v + large) - large;
}

void quantise_block(const float* x, int32_t n, float* out) {
  // Magnitudes are ordered as their bits are, NaN above all.
  uint32_t largest = bits_of_float(kSmallestScaled);
  for (int32_t i = 0; i < n; ++i) largest = std::max(largest, bits_of_float(x[i]) & 0x7FFFFFFFu);
  const float scale = float_of_bits(largest) / kLargest;
  for (int32_t i = 0; i < n; ++i) out[i] = nearest_e4m3(x[i] / scale) * scale;
}

bool is_fp8(const Weight& w) { return w.dtype == DType::f8_e4m3; }

}  // namespace

void quantise_rows(const OpContext& ctx, const float* x, int64_t stride, int32_t rows,
                   int32_t width, float* out) {
  share_rows(ctx, rows, int64_t{rows} * width * 4, [&](int32_t r) {
    for (int32_t first = 0; first < width; first += kScaleBlock)
      quantise_block(x + r * stride + first, std::min(kScaleBlock, width - first),
                     out + int64_t{r} * width + first);
  });
}

bool quantises(const LinearParams& p) { return !p.exact && is_fp8(p.weight); }

bool quantises(const ExpertsParams& p) {
  return std::ranges::all_of(p.experts, [](const ExpertWeights& w) {
    return is_fp8(w.gate) && is_fp8(w.up) && is_fp8(w.down);
  });
}

LinearParams with_quantised_rows(const OpContext& ctx, const LinearParams& p,
                                 Workspace& workspace) {
  CHECK(p.weight.scale_col == 0, "columns of a weight begin inside of a scale block");
  LinearParams out = p;
  float* x = workspace.take<float>(int64_t{p.rows} * p.weight.cols);
  quantise_rows(ctx, floats(p.x, p.x_dtype), p.x_stride, p.rows, p.weight.cols, x);
  out.x = x;
  out.x_stride = p.weight.cols;
  return out;
}

ExpertsParams with_quantised_rows(const OpContext& ctx, const ExpertsParams& p,
                                  Workspace& workspace) {
  if (p.rows == 0 || p.experts.empty()) return p;
  const int32_t hidden = p.experts[0].gate.cols;
  ExpertsParams out = p;
  float* x = workspace.take<float>(int64_t{p.rows} * hidden);
  quantise_rows(ctx, floats(p.x, p.x_dtype), p.x_stride, p.rows, hidden, x);
  out.x = x;
  out.x_stride = hidden;
  return out;
}

}  // namespace fathom::cpu
