// Which GPUs are there? As many as a test asks for, of one kind, each with memory of its own that
// ends at a page nobody may touch. The runtime's functions are about one machine for the process,
// so there is one object; a test sets it up before it uses the first GPU.
#pragma once

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
  bool is_device_memory(const void* at) const { return holds(at, 1); }

  void* pin(size_t bytes);
  bool unpin(void* memory);
  bool is_pinned(const void* at) const;

  std::set<std::pair<int, int>> peers;                // (who reads, whose memory)
  std::map<const void*, size_t> most_dynamic_shared;  // of a kernel, where it was set

  std::set<int> silent;  // GPUs from which nothing more reaches another process

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
};

Machine& machine();

}  // namespace emulated
