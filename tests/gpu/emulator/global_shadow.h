// Do two clusters of one kernel touch the same bytes of a GPU's memory, and one of them stores
// there? Nothing puts clusters in order but the kernel's end, so that is a race whenever it
// happens; atomic operations alone may meet. One object for each kernel that runs while races are
// watched for, about the bytes that it touched so far.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tests/gpu/emulator/device.h"

namespace emulated {

class GlobalShadow {
 public:
  struct Touch {
    Access how = Access::read;
    uint32_t cluster = 0;
    uint32_t code = 0;  // where in the program, from its beginning
  };
  // The earlier touch by another cluster that this one must not meet, if there is one. What is in
  // no GPU's memory (a thread's own variables, arguments) is not looked at.
  std::optional<Touch> touch(const std::byte* at, size_t bytes, const Touch& touch);
  // In whose memory that is; -1: in no GPU's.
  int gpu_of(const std::byte* at) { return page_of(at).gpu; }

 private:
  static constexpr size_t kPage = 4096;

  // By whom; of many who read, or who change atomically, two are enough to find one that is not
  // the next who stores.
  struct By {
    uint32_t cluster = 0;  // from 1 on; 0: nobody
    uint32_t code = 0;
  };
  struct Cell {
    By stored;
    By read[2];
    By changed[2];

    std::optional<Touch> touch(const Touch& touch);
  };
  struct Page {
    int gpu = -1;      // -1: not watched
    size_t unit = 16;  // bytes that a cell is about: so few that every touch was of whole cells
    std::vector<Cell> cells;

    void refine(size_t to);
  };
  Page& page_of(const std::byte* at);

  std::unordered_map<uintptr_t, Page> pages_;
  struct Found {
    uintptr_t number = 0;
    Page* page = nullptr;
  };
  std::array<Found, 64> found_ = {};  // pages that were asked for before, by their lowest bits
};

}  // namespace emulated
