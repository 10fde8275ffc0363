// Where do weights go that a device can not read in place? Each is copied once, its rows as the
// device's kernels want them: 256-byte aligned, rows a multiple of 16 bytes apart, scales beside. A
// device that is the host reads the checkpoint's own pages: nothing is copied.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace fathom {

// Owns what it places. Errors: RESOURCE_EXHAUSTED naming "device" when memory runs out.
class PlacedWeights {
 public:
  explicit PlacedWeights(Device& device) : device_(device) {}
  ~PlacedWeights();
  PlacedWeights(const PlacedWeights&) = delete;
  PlacedWeights& operator=(const PlacedWeights&) = delete;

  Result<Weight> place(const Weight& weight);
  // The experts of one layer, all of one shape and type: expert e's gate, up and down at equal
  // distances from those of e - 1, their scales too, and up right behind gate:
  // up.data = gate.data + gate.rows * gate.row_stride elements.
  Result<std::vector<ExpertWeights>> place_experts(std::span<const ExpertWeights> experts);
  // Copies any host bytes.
  Result<const void*> place_bytes(const void* from, size_t bytes);
  // Placed so far.
  uint64_t bytes() const { return bytes_; }

 private:
  Result<std::byte*> take(uint64_t bytes);
  void put_rows(std::byte* to, int64_t stride_bytes, const Weight& from);
  void put_scales(std::byte* to, const Weight& from);

  Device& device_;
  std::vector<void*> owned_;
  uint64_t bytes_ = 0;
};

}  // namespace fathom
