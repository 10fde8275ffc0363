// Who attends exactly, in float32, whatever the shape? Both forms of latent attention fall back to
// this one: in latent space, row by row.
#pragma once

#include "kernels/ops.h"

namespace fathom::cuda {

void mla_exact(const OpContext&, const MlaParams&);

}  // namespace fathom::cuda
