#include "kernels/cpu/limits.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "kernels/cpu/inner.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/tiles.h"

namespace fathom {
namespace {

constexpr size_t kPiece = size_t{16} << 20;
constexpr size_t kLine = 64;  // bytes of a cache line
constexpr int kRunsMin = 15;  // however long one takes
constexpr int64_t kBurst = 10000;

// Seconds of the fastest run.
template <class F>
double fastest(const LimitsParams& params, F&& run) {
  double least = 1e9;
  const double end = params.seconds() + params.measure_s;
  for (int i = 0; i < kRunsMin || params.seconds() < end; ++i) {
    const double begin = params.seconds();
    run(i);
    least = std::min(least, params.seconds() - begin);
  }
  return least;
}

// One word of every line is enough to fetch it.
uint64_t read_stretch(const uint64_t* words, size_t count) {
  constexpr size_t kStep = kLine / sizeof(uint64_t);
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i + 4 * kStep <= count; i += 4 * kStep) {
    a += words[i];
    b += words[i + kStep];
    c += words[i + 2 * kStep];
    d += words[i + 3 * kStep];
  }
  return a ^ b ^ c ^ d;
}

double reading(const LimitsParams& params) {
  const std::vector<uint64_t> memory(std::max(params.memory, kPiece) / sizeof(uint64_t), 1);
  const auto lanes = static_cast<size_t>(params.lanes->count());
  const size_t piece = kPiece / sizeof(uint64_t), pieces = memory.size() / piece;
  std::vector<uint64_t> sums(lanes * kLine);
  const double s = fastest(params, [&](int run) {
    const uint64_t* from = memory.data() + static_cast<size_t>(run) % pieces * piece;
    params.lanes->each(params.lanes->count(), [&](int lane) {
      const auto l = static_cast<size_t>(lane);
      sums[l * kLine] += read_stretch(from + piece / lanes * l, piece / lanes);
    });
  });
  return static_cast<double>(kPiece) / s;
}

double multiplying(const LimitsParams& params, int64_t (*burst)(int64_t, float*)) {
  const auto lanes = static_cast<size_t>(params.lanes->count());
  std::vector<float> sinks(lanes * kLine);
  std::vector<int64_t> done(lanes * kLine);
  const double s = fastest(params, [&](int) {
    params.lanes->each(params.lanes->count(), [&](int lane) {
      const size_t l = static_cast<size_t>(lane) * kLine;
      done[l] = burst(kBurst, &sinks[l]);
    });
  });
  return 2.0 * static_cast<double>(done[0]) * static_cast<double>(lanes) / s;
}

}  // namespace

MachineLimits measure_limits(const LimitsParams& params) {
  const Inner& inner = cpu_inner(*params.ops);
  MachineLimits out{.read_bytes_s = reading(params),
                    .float32_flops_s = multiplying(params, inner.burst)};
  out.bfloat16_flops_s = out.float32_flops_s;
  if (inner.burst_pairs != nullptr)
    out.bfloat16_flops_s = std::max(out.bfloat16_flops_s, multiplying(params, inner.burst_pairs));
  if (std::string_view(params.ops->name) == "amx")
    out.bfloat16_flops_s = std::max(out.bfloat16_flops_s, multiplying(params, tiles_amx()->burst));
  return out;
}

}  // namespace fathom
