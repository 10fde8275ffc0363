// How do the blocks of a cluster meet? All threads arrive, and then each waits, in turn.
#pragma once

#include "tests/gpu/emulator/grid.h"

namespace emulated {

inline void cluster_arrive() { now->block->crew->arrive(); }
inline void cluster_wait() {
  const Crew& crew = *now->block->crew;
  if (!now->cluster_arrived) fault("a thread waits for its cluster before it has arrived");
  const uint64_t turn = now->cluster_turn;
  wait_until("the barrier of its cluster", [&] { return crew.cluster_turn != turn; });
  now->cluster_arrived = false;
}

}  // namespace emulated
