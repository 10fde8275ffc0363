// Are there inner loops for AVX-512 yet? No: the table chooses the next narrower set.
#include "kernels/cpu/inner.h"

namespace fathom {

const Inner* inner_avx512(bool) { return nullptr; }

}  // namespace fathom
