// How do tests let a GPU fail or hang in the midst of a step, and see that the step is replayed?
#pragma once

#include <mutex>

#include "tests/gpu/emulator/machine.h"

namespace fathom {

inline uint64_t graphs_launched() {
  const std::scoped_lock held(emulated::machine().lock());
  return emulated::machine().graphs_launched;
}

// What befalls `gpu` behind `after` more pieces of what it replays, until this is destroyed; what
// failed stays so.
class MishapOf {
 public:
  MishapOf(int gpu, emulated::Mishap::Kind kind, int after) : gpu_(gpu) {
    const std::scoped_lock held(emulated::machine().lock());
    emulated::machine().mishaps[gpu] = {kind, after};
  }
  ~MishapOf() {
    const std::scoped_lock held(emulated::machine().lock());
    emulated::machine().mishaps.erase(gpu_);
  }
  MishapOf(const MishapOf&) = delete;
  MishapOf& operator=(const MishapOf&) = delete;
  bool happened() const {
    const std::scoped_lock held(emulated::machine().lock());
    return emulated::machine().mishaps.at(gpu_).happened;
  }

 private:
  const int gpu_;
};

}  // namespace fathom
