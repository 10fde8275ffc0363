// How do the ranks of one tensor-parallel group agree? Four collectives over float32, the same call
// on every rank in the same order. Sums are taken in rank order, so every rank gets the same bits
// in every run. Implementations: solo (one rank), threads (ranks are threads of one process), tcp
// (ranks are processes, each of which may hold several threads).
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"

namespace fathom {

class Comm {
 public:
  virtual ~Comm() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // data becomes the sum over ranks, added as ((r0 + r1) + r2) + ...
  virtual Status all_reduce(std::span<float> data) = 0;
  // out = r0's data, then r1's, ...; out.size() == size() * data.size(). data may be out's own
  // part.
  virtual Status all_gather(std::span<const float> data, std::span<float> out) = 0;
  // Every rank gets root's bytes. All ranks know the size.
  virtual Status broadcast(std::span<std::byte> data, int root) = 0;
  virtual Status barrier() = 0;
  // A failed collective (a peer died, a time-out) leaves the group broken: every later call fails
  // at once with UNAVAILABLE naming the rank.
};

}  // namespace fathom
