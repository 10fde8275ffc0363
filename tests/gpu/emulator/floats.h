// What are the bits of the small floating-point types? bf16, fp16 and e4m3, to and from float32.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace emulated {

inline float of_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
// Nearest, ties to even; not-a-number becomes 0x7FFF, as on a GPU.
inline uint16_t to_bf16(float v) {
  if (std::isnan(v)) return 0x7FFF;
  const auto bits = std::bit_cast<uint32_t>(v);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline float of_fp16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16, exponent = bits >> 10 & 31u,
                 fraction = bits & 0x3FFu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | fraction << 13);
  if (exponent == 0) {
    const float small = std::ldexp(static_cast<float>(fraction), -24);
    return sign != 0 ? -small : small;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

inline float of_e4m3(uint8_t bits) {
  const uint32_t exponent = bits >> 3 & 15u, fraction = bits & 7u;
  float v;
  if (exponent == 15 && fraction == 7)
    v = std::bit_cast<float>(0x7FC00000u);
  else if (exponent == 0)
    v = static_cast<float>(fraction) * 0x1p-9f;
  else
    v = std::bit_cast<float>((exponent + 120) << 23 | fraction << 20);
  return bits & 0x80 ? -v : v;
}
// Nearest, ties to even; what is larger than 448 becomes 448, not-a-number 0x7F.
inline uint8_t to_e4m3(float v) {
  if (std::isnan(v)) return 0x7F;
  const auto sign = static_cast<uint8_t>(std::signbit(v) ? 0x80 : 0);
  const float magnitude = std::fabs(v);
  if (magnitude >= 448) return sign | 0x7E;
  // Codes of positive numbers are in the order of what they stand for.
  uint8_t below = 0;
  for (uint8_t step = 0x40; step != 0; step >>= 1)
    if (const auto next = static_cast<uint8_t>(below | step);
        next <= 0x7E && of_e4m3(next) <= magnitude)
      below = next;
  const float under = magnitude - of_e4m3(below);
  const float over = of_e4m3(static_cast<uint8_t>(below + 1)) - magnitude;
  return sign | static_cast<uint8_t>(under > over || (under == over && below % 2 == 1) ? below + 1
                                                                                       : below);
}

}  // namespace emulated
