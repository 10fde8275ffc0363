// Which ways are there to hand shared memory from thread to thread, and which step of each may be
// forgotten? One kernel each, and one whose blocks keep apart in global memory; `slip` 0 is right,
// 1 .. slips leave one step out.
#pragma once

#include <span>

#include "tests/gpu/emulator/faults/kernels.h"

namespace emulated {

struct Handover {
  const char* name;
  int slips;
  Outcome (*run)(int slip);
  // Of slips that no order of threads shows: only copies and tensor cores would see it.
  int only_fence = 0;
};
std::span<const Handover> handovers();

}  // namespace emulated
