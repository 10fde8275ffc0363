// Which of the toolkit's FP8 types and functions do the kernels use? These.
#pragma once

#include "tests/gpu/emulator/floats.h"

struct __nv_fp8_e4m3 {
  uint8_t __x;
  explicit operator float() const { return emulated::of_e4m3(__x); }
};
