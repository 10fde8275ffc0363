// Which of the toolkit's fp16 types and functions do the kernels use? These.
#pragma once

#include "tests/gpu/emulator/floats.h"

struct __half {
  uint16_t bits;
};
inline __half __ushort_as_half(uint16_t bits) { return {bits}; }
inline float __half2float(__half v) { return emulated::of_fp16(v.bits); }
