// links: fathom_kernels
//
// How near to the hardware is absorbed latent attention on a GPU? Decode rows in the shapes of
// DeepSeek V3 and its tensor parallel shards: microseconds of the whole operation (graphs of 12
// layers over 3 rotating caches, so the L2 cache does not help), terabytes of latents a second,
// TFLOP/s of scores and sums, and the percentage of the floor that bytes / 4.3 TB/s or operations /
// 790 TFLOP/s leave. Arguments: numbers of heads; none is 16 32 64 128.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/cpu/scratch.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/mla/fast.h"

namespace fathom {
namespace {

constexpr int32_t kRank = 512, kRope = 64, kNope = 128, kValue = 128, kBlock = 64;
constexpr int kLayers = 12, kCaches = 3;

struct Bench {
  Device& device;
  Scratch& scratch;
  std::vector<void*> owned;
  int32_t pieces = 0;

  void* take(size_t bytes) {
    void* there = device.allocate(bytes);
    if (there == nullptr) {
      std::printf("no memory for %zu bytes\n", bytes);
      std::exit(1);
    }
    owned.push_back(there);
    return there;
  }
  // bf16 (or upper halves of float32) from 2^-7 to 2, random.
  void* random_bytes(size_t bytes) {
    static const std::vector<uint8_t> block = [] {
      std::mt19937 generator(1);
      std::vector<uint8_t> b(size_t{4} << 20);
      for (size_t i = 0; i < b.size(); ++i) {
        b[i] = static_cast<uint8_t>(generator());
        if (i % 2 == 1) b[i] = static_cast<uint8_t>((b[i] & 0x83) | 0x3C);
      }
      return b;
    }();
    void* there = take(bytes);
    for (size_t done = 0; done < bytes; done += block.size())
      device.upload(static_cast<uint8_t*>(there) + done, block.data(),
                    std::min(block.size(), bytes - done));
    return there;
  }
  template <class T>
  const T* put(const std::vector<T>& values) {
    void* there = take(values.size() * sizeof(T));
    device.upload(there, values.data(), values.size() * sizeof(T));
    return static_cast<const T*>(there);
  }
  void release() {
    for (void* m : owned) device.release(m);
    owned.clear();
  }
};

double microseconds(Bench& b, const std::vector<MlaParams>& layers) {
  const ReplayKey key = {.what = ++b.pieces};
  const auto say = [&] {
    for (const MlaParams& p : layers) {
      b.scratch.reset();
      cuda::mla_absorbed_fast(
          {.scratch = &b.scratch, .compute = Compute::bfloat16, .device = &b.device}, p);
    }
  };
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  for (int warm = 0; warm < 3; ++warm) b.device.replay(key, say);
  if (!b.device.wait().ok()) return -1;
  for (int i = 0; i < 5; ++i) {
    constexpr int kReplays = 4;
    const auto begin = Clock::now();
    for (int r = 0; r < kReplays; ++r) b.device.replay(key, say);
    if (!b.device.wait().ok()) return -1;
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count() /
                    (kReplays * kLayers));
    if (times.back() > 2000 && i > 0) break;
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void shape(Bench& b, int32_t heads, int32_t batch, int32_t context) {
  const int32_t row_blocks = (context + kBlock - 1) / kBlock;
  const size_t cache_bytes =
      static_cast<size_t>(batch) * static_cast<size_t>(row_blocks) * kBlock * (kRank + kRope) * 2;
  std::vector<AttentionRun> runs;
  std::vector<int32_t> row_runs;
  std::vector<BlockIndex> blocks;
  for (int32_t i = 0; i < batch; ++i) {
    runs.push_back({i, 1, context - 1, i * row_blocks});
    row_runs.push_back(i);
  }
  for (int32_t i = 0; i < batch * row_blocks; ++i) blocks.push_back(i);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(3));
  const int32_t q_width = heads * (kNope + kRope), weight_rows = heads * (kNope + kValue);
  MlaParams p{
      .sequences = {},
      .tables = {.runs = b.put(runs),
                 .blocks = b.put(blocks),
                 .row_runs = b.put(row_runs),
                 .count = batch,
                 .rows_total = batch,
                 .rows_max = 1,
                 .context_max = context},
      .q = static_cast<const float*>(b.random_bytes(static_cast<size_t>(batch * q_width) * 4)),
      .q_stride = q_width,
      .heads = heads,
      .nope = kNope,
      .value = kValue,
      .scale = 0.01f,
      .out = b.take(static_cast<size_t>(batch * heads * kValue) * 2),
      .out_dtype = DType::bf16,
      .out_stride = heads * kValue};
  std::vector<MlaParams> layers;
  for (int i = 0; i < kLayers; ++i) {
    if (i < kCaches) {
      p.cache = {b.random_bytes(cache_bytes),
                 DType::bf16,
                 int64_t{kBlock} * (kRank + kRope),
                 kBlock,
                 kRank,
                 kRope};
      p.kv_b = {.data = b.random_bytes(static_cast<size_t>(weight_rows) * kRank * 2),
                .dtype = DType::bf16,
                .rows = weight_rows,
                .cols = kRank,
                .row_stride = kRank};
      layers.push_back(p);
    } else {
      layers.push_back(layers[static_cast<size_t>(i % kCaches)]);
    }
  }
  const double us = microseconds(b, layers);
  const double positions = double{1} * batch * context;
  const double latents = positions * (kRank + kRope) * 2,
               weights = double{1} * weight_rows * kRank * 2;
  const double flops = 2.0 * heads * (2 * kRank + kRope) * positions;
  const double floor = std::max((latents + weights) / 4.3e6, flops / 790e6);
  std::printf("h=%-4d B=%-4d L=%-6d %9.2f us %6.2f TB/s %6.1f TFLOP/s %5.1f%% of floor (%s)\n",
              heads, batch, context, us, latents / us / 1e6, flops / us / 1e6, 100 * floor / us,
              (latents + weights) / 4.3e6 > flops / 790e6 ? "bytes" : "operations");
  std::fflush(stdout);
  b.release();
}

int run(int count, char** words) {
  auto made = make_cuda_device({});
  if (!made.ok()) {
    std::printf("%s\n", made.error().text().c_str());
    return 1;
  }
  const auto scratch = make_scratch(*made.value());
  Bench b{.device = *made.value(), .scratch = *scratch, .owned = {}};
  std::vector<int32_t> all;
  for (int i = 1; i < count; ++i) all.push_back(std::atoi(words[i]));
  if (all.empty()) all = {16, 32, 64, 128};
  for (const int32_t heads : all)
    for (const auto& [batch, context] :
         {std::pair{1, 4096}, {1, 32768}, {16, 4096}, {64, 4096}, {128, 4096}, {32, 32768}})
      shape(b, heads, batch, context);
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run(argc, argv); }
