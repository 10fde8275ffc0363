// Which instruction set runs? The widest one this machine has, asked of the CPU once.
#pragma once

#include <string_view>

#include "kernels/ops.h"

namespace fathom {

const Ops& cpu_ops();

// "portable", "avx2", "avx512" or "amx"; null when the machine (or the build) lacks it.
const Ops* cpu_ops_named(std::string_view name);

// The inner loops that one of these tables is bound to.
struct Inner;
const Inner& cpu_inner(const Ops& ops);

}  // namespace fathom
