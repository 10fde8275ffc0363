// How do the threads of one process act as ranks? Each publishes where its data lies, all meet, the
// sums are taken in rank order (by everyone, a slice each), all meet again and copy. A group that
// spans processes hands the part between the two meetings to a Link, which its first thread drives.
// Once broken, every call fails at once.
#pragma once

#include <memory>
#include <vector>

#include "comm/comm.h"

namespace fathom {

// What the ranks of this process contribute, in rank order; all have the same length.
using Parts = std::span<const std::span<const float>>;

// The collectives between processes. Called by one thread at a time; a failure is final.
class Link {
 public:
  virtual ~Link() = default;
  // sum = all ranks' parts of all processes, added in rank order.
  virtual Status all_reduce(Parts mine, std::span<float> sum) = 0;
  // all = the parts of all ranks, in rank order.
  virtual Status all_gather(Parts mine, std::span<float> all) = 0;
  virtual Status broadcast(std::span<std::byte> data, int root_process) = 0;
};

struct GroupShape {
  int threads = 1;  // ranks of this process
  int processes = 1;
  int process = 0;  // this one; its ranks are process * threads ...
};

// One Comm per thread of this process. A Comm that is destroyed leaves the group: its peers' calls
// fail with UNAVAILABLE naming its rank. `link` is null for a group of one process.
std::vector<std::unique_ptr<Comm>> make_group(const GroupShape& shape, std::unique_ptr<Link> link);

}  // namespace fathom
