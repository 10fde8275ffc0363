// How do the ranks of one tensor-parallel group sum and gather what lies on their devices? By a few
// collectives over float32, the same call on every rank in the same order, each ordered with the
// operations of the rank's own device. Sums are taken in rank order, so every rank gets the same
// bits in every run, whatever carries them: cuda/collectives.h has the kinds for GPUs.
#pragma once

#include <cstdint>

#include "base/ids.h"
#include "base/result.h"
#include "kernels/device.h"

namespace fathom {

// One rank's end, used by that rank's thread; outlived by its Device. A rank that gives up destroys
// it: the peers' calls then fail instead of waiting.
class Collectives {
 public:
  virtual ~Collectives() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Whether Device::replay may record its calls: then they only say work.
  virtual bool recordable() const = 0;
  // The least word of all ranks, for Device::replay. No GPU is waited for.
  virtual Result<int32_t> agree(int32_t word) = 0;

  // data[count] becomes the sum over ranks, added as ((r0 + r1) + r2) + ...; any alignment of
  // float.
  virtual Status all_reduce(float* data, int64_t count) = 0;
  // out[size() * count] = r0's part, then r1's, ...; part[count] may be out's own part.
  virtual Status all_gather(const float* part, float* out, int64_t count) = 0;
  // ids[count] becomes root's on every rank.
  virtual Status broadcast(TokenId* ids, int64_t count, int root) = 0;

  // Waits until all operations said before are done; what they left is valid only if this says so.
  // This gives up after the group's time-out, and without waiting for a device where another rank
  // has broken the group. So does the device's own wait(), download(), upload() or release() for a
  // peer in another process, but only this or the next call says so. A broken group stays broken:
  // every call fails at once with UNAVAILABLE, naming the rank where it is known; INTERNAL naming
  // "size" where ranks disagree about a count.
  virtual Status finish() = 0;
  // The same of the operations said before `mark` was begun, which is on this rank's device.
  virtual Status finish(Download& mark) = 0;
  // What broke the group, if anything did. From any thread where ranks are threads.
  virtual Status status() = 0;
};

}  // namespace fathom
