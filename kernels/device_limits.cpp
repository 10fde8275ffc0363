#include "kernels/device_limits.h"

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "kernels/cpu/scratch.h"
#include "kernels/placed.h"

namespace fathom {
namespace {

constexpr size_t kCopied = size_t{1} << 30;
constexpr int32_t kEdge = 8192, kFloatEdge = 4096;

// Zeros multiply faster than numbers: they switch fewer transistors.
std::vector<uint16_t> random_bf16(size_t count) {
  std::mt19937 generator(1);
  std::vector<uint16_t> out(count);
  for (uint16_t& v : out) v = static_cast<uint16_t>(0x3C00 | (generator() & 0x83FF));
  return out;
}

class Limits {
 public:
  explicit Limits(const DeviceLimitsParams& params)
      : params_(params), placed_(*params.device), scratch_(make_scratch(*params.device)) {}

  Result<double> copied_per_second() {
    FATHOM_TRY(void* from, room(kCopied));
    FATHOM_TRY(void* to, room(kCopied));
    FATHOM_TRY(const double best, best_of([&] { params_.device->copy(to, from, kCopied); }));
    return 2.0 * static_cast<double>(kCopied) / best;
  }

  Result<double> flops_per_second(int32_t edge, Compute compute) {
    const auto count = static_cast<size_t>(edge) * static_cast<size_t>(edge);
    const std::vector<uint16_t> values = random_bf16(count);
    const Weight host{.data = values.data(),
                      .dtype = DType::bf16,
                      .rows = edge,
                      .cols = edge,
                      .row_stride = edge};
    FATHOM_TRY(const Weight weight, placed_.place(host));
    FATHOM_TRY(void* y, room(count * sizeof(float)));
    const OpContext ctx{.scratch = scratch_.get(), .compute = compute, .device = params_.device};
    FATHOM_TRY(const double best, best_of([&] {
                 params_.ops->linear(ctx, {.x = weight.data,
                                           .x_dtype = DType::bf16,
                                           .x_stride = edge,
                                           .rows = edge,
                                           .weight = weight,
                                           .y = static_cast<float*>(y),
                                           .y_stride = edge});
                 scratch_->reset();
               }));
    return 2.0 * edge * edge * edge / best;
  }

 private:
  Result<void*> room(size_t bytes) {
    const std::vector<std::byte> nothing(bytes);
    FATHOM_TRY(const void* memory, placed_.place_bytes(nothing.data(), bytes));
    return const_cast<void*>(memory);
  }

  template <class F>
  Result<double> best_of(const F& work) {
    double best = 1e30;
    for (int32_t i = 0; i <= params_.repeats; ++i) {
      FATHOM_CHECKED(params_.device->wait());
      const double start = params_.seconds();
      work();
      FATHOM_CHECKED(params_.device->wait());
      if (i > 0) best = std::min(best, params_.seconds() - start);
    }
    return best;
  }

  const DeviceLimitsParams& params_;
  PlacedWeights placed_;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace

Result<MachineLimits> measure_device_limits(const DeviceLimitsParams& params) {
  MachineLimits out;
  FATHOM_TRY(out.read_bytes_s, Limits(params).copied_per_second());
  FATHOM_TRY(out.bfloat16_flops_s, Limits(params).flops_per_second(kEdge, Compute::bfloat16));
  FATHOM_TRY(out.float32_flops_s, Limits(params).flops_per_second(kFloatEdge, Compute::float32));
  return out;
}

}  // namespace fathom
