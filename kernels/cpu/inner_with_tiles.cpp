// What is different where there are AMX tiles? The loops are those of AVX-512 with BF16; attention
// under bfloat16 goes by spans (span_kernel.h).
#include "kernels/cpu/inner.h"

namespace fathom {

const Inner* inner_amx() {
  if (!span_kernel_amx() || !inner_avx512(true)) return nullptr;
  static const Inner inner = [] {
    Inner with_tiles = *inner_avx512(true);
    with_tiles.name = "amx";
    with_tiles.spans = span_kernel_amx();
    return with_tiles;
  }();
  return &inner;
}

}  // namespace fathom
