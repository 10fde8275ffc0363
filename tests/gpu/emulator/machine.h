// Which GPUs are there? As many as a test asks for, of one kind, each with memory of its own that
// ends at a page nobody may touch. The runtime's functions are about one machine for the process,
// so there is one object; a test sets it up before it uses the first GPU.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "tests/gpu/emulator/stream.h"

namespace emulated {

struct MachineConfig {
  int gpus = 1;
  int multiprocessors = 16;
  size_t memory_bytes = size_t{8} << 30;  // of each GPU
  uint64_t seed = 0;                      // schedule.h
  bool races = false;                     // are watched for (races.h)
};

// What befalls a GPU in the midst of what it replays: behind `after` more pieces of that.
struct Mishap {
  enum class Kind { fails, hangs } kind = Kind::fails;
  int after = 0;
  bool happened = false;
};

class Machine {
 public:
  void set_up(const MachineConfig& config);
  const MachineConfig& config() const { return config_; }
  Schedule& schedule() { return schedule_; }
  std::recursive_mutex& lock() { return lock_; }

  // Null: no such memory is left.
  void* allocate(int gpu, size_t bytes);
  bool release(void* memory);  // false: not from allocate()
  size_t used(int gpu) const;
  // Whether [at, at + bytes) lies in one allocation of any GPU.
  bool holds(const void* at, size_t bytes) const;
  int gpu_of(const void* at) const;  // whose memory that is; -1: no GPU's

  void* pin(size_t bytes);
  bool unpin(void* memory);
  bool is_pinned(const void* at) const;

  std::set<std::pair<int, int>> peers;                // (who reads, whose memory)
  std::map<const void*, size_t> most_dynamic_shared;  // of a kernel, where it was set

  std::set<int> silent;  // GPUs from which nothing more reaches another process
  std::map<int, Mishap> mishaps;
  uint64_t graphs_launched = 0;
  // Of a GPU, before its next piece of work. One that hangs does nothing more, until its mishap is
  // taken away, and time flies meanwhile: a kernel that looks at the clock finds a second gone.
  enum class Health { well, fails, hangs };
  Health before_work(int gpu, bool replayed);
  void did_work(int gpu, bool replayed);
  std::chrono::nanoseconds clock();

  void faulted(const std::string& what) { last_fault_ = what; }
  const std::string& last_fault() const { return last_fault_; }

 private:
  struct Allocation {
    int gpu;
    size_t bytes;   // asked for
    void* mapping;  // with the page behind
    size_t mapped;
  };

  MachineConfig config_;
  Schedule schedule_;
  mutable std::recursive_mutex lock_;
  std::map<const void*, Allocation> allocations_;
  std::map<const void*, size_t> pinned_;
  std::map<int, size_t> used_;
  std::string last_fault_;
  std::chrono::nanoseconds flown_{};
};

Machine& machine();

}  // namespace emulated
