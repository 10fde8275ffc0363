// How do prompt rows attend on a GPU? In latent space, which is the same sum in another order than
// with expanded keys and values.
#include "kernels/cuda/mla/exact.h"
#include "kernels/cuda/operations.h"

namespace fathom::cuda {

void mla_expanded(const OpContext& ctx, const MlaParams& p) {
  if (p.tables.rows_total == 0) return;
  mla_exact(ctx, p);
}

}  // namespace fathom::cuda
