// Are there inner loops for AVX2 yet? No: the table chooses the next narrower set.
#include "kernels/cpu/inner.h"

namespace fathom {

const Inner* inner_avx2() { return nullptr; }

}  // namespace fathom
