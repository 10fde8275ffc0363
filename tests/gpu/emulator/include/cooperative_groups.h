// Which of the toolkit's cooperative groups do kernels use? The cluster of the running block.
#pragma once

#include "tests/gpu/emulator/device.h"

namespace cooperative_groups {

struct cluster_group {
  void barrier_arrive() const { emulated::cluster_arrive(); }
  void barrier_wait() const { emulated::cluster_wait(); }
  void sync() const {
    emulated::cluster_arrive();
    emulated::cluster_wait();
  }
  unsigned block_rank() const { return emulated::here->where->rank; }
  unsigned num_blocks() const { return emulated::cluster_blocks(); }
  template <class T>
  T* map_shared_rank(T* mine, unsigned rank) const {
    return static_cast<T*>(emulated::in_other_block(mine, rank));
  }
};
inline cluster_group this_cluster() { return {}; }

}  // namespace cooperative_groups
