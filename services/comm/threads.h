// How do the threads of one process form a group? Rank i is for thread i; the collectives meet in
// memory.
#pragma once

#include <memory>
#include <vector>

#include "comm/comm.h"

namespace fathom {

std::vector<std::unique_ptr<Comm>> make_thread_group(int ranks);

}  // namespace fathom
