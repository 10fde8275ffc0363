// What are the sine and cosine of a float32 angle? Double arithmetic without calls or tables: the
// nearest multiple of pi / 2 is taken away in two parts, which leaves 1e-16 for angles up to 2^24,
// and Taylor polynomials to r^13 do the rest to 1e-12; the float32 results are those of exact
// values but for ties. Host and device run the same lines.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define FATHOM_TURN __host__ __device__ __forceinline__
#else
#define FATHOM_TURN inline
#endif

namespace fathom::cuda {

struct Turn {
  float cosine, sine;
};

FATHOM_TURN Turn turn_by(float angle) {
  const double x = angle;
  const double quarters = rint(x * 0.63661977236758134308);
  double r = fma(-quarters, 1.57079632679489661923, x);
  r = fma(-quarters, 6.12323399573676603587e-17, r);
  const double z = r * r;
  double s = 1.0 / 6227020800;
  s = fma(s, z, -1.0 / 39916800);
  s = fma(s, z, 1.0 / 362880);
  s = fma(s, z, -1.0 / 5040);
  s = fma(s, z, 1.0 / 120);
  s = fma(s, z, -1.0 / 6);
  s = fma(s * z, r, r);
  double c = 1.0 / 479001600;
  c = fma(c, z, -1.0 / 3628800);
  c = fma(c, z, 1.0 / 40320);
  c = fma(c, z, -1.0 / 720);
  c = fma(c, z, 1.0 / 24);
  c = fma(c, z, -0.5);
  c = fma(c, z, 1.0);
  const auto quarter = static_cast<int64_t>(quarters) & 3;
  const double cosine = quarter & 1 ? s : c, sine = quarter & 1 ? c : s;
  return {static_cast<float>(quarter == 1 || quarter == 2 ? -cosine : cosine),
          static_cast<float>(quarter >= 2 ? -sine : sine)};
}

#if defined(__CUDACC__)
__device__ __forceinline__ void turn_pair(float& first, float& second, float cosine, float sine) {
  const float a = first, b = second;
  first = __fsub_rn(__fmul_rn(a, cosine), __fmul_rn(b, sine));
  second = __fadd_rn(__fmul_rn(a, sine), __fmul_rn(b, cosine));
}
#endif

}  // namespace fathom::cuda
