// What number do these bits stand for? bf16, f16 and e4m3 (the "fn" kind: bias 7, 448 at most, 0x7F
// and 0xFF are NaN) widen to float32 without rounding; float32 narrows to bf16 by
// round-to-nearest-even. Everything is `static`: files built with wider instruction sets must not
// lend their copy of a function to others.
#pragma once

#include <cstdint>
#include <cstring>

namespace fathom {

static inline float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t bits_of_float(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float widen_bf16(uint16_t b) { return float_of_bits(uint32_t{b} << 16); }

static inline float widen_f16(uint16_t h) {
  const uint32_t sign = uint32_t{h & 0x8000u} << 16;
  const uint32_t magnitude = h & 0x7FFFu;
  if (magnitude >= 0x7C00u) return float_of_bits(sign | 0x7F800000u | ((magnitude & 0x3FFu) << 13));
  // The exponent is too small by 127 - 15; one exact multiplication puts it right, subnormals
  // included.
  return float_of_bits(sign | bits_of_float(float_of_bits(magnitude << 13) * 0x1.0p112f));
}

static inline float widen_e4m3(uint8_t b) {
  const uint32_t sign = uint32_t{b & 0x80u} << 24;
  const uint32_t magnitude = b & 0x7Fu;
  if (magnitude == 0x7Fu) return float_of_bits(sign | 0x7FC00000u);
  return float_of_bits(sign | bits_of_float(float_of_bits(magnitude << 20) * 0x1.0p120f));
}

static inline uint16_t narrow_bf16(float value) {
  const uint32_t bits = bits_of_float(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace fathom
