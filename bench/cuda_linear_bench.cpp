// links: fathom_kernels
// How near to the hardware is a GPU's `linear`? For the products of DeepSeek V3 and its tensor
// parallel shards: microseconds a product (graphs of 24 products over rotating copies of the
// weight, so the L2 cache does not help), terabytes a second, TFLOP/s, and the percentage of the
// floor that bytes / 4.3 TB/s or operations / 790 TFLOP/s leave (1,580 for products of codes).
// Arguments: words that pick tables (fp8, w8a8, bf16, head, router, f32); none is all. fp8 is
// weight-only, w8a8 the same weights with rows that are quantised in the same call.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/scratch.h"
#include "kernels/cuda/device.h"

namespace fathom {
namespace {

// FP8 codes that are numbers; or bf16 (also the upper halves of float32) from 2^-7 to 2.
std::vector<uint8_t> random_block(bool floats) {
  std::mt19937 generator(floats ? 1 : 2);
  std::vector<uint8_t> block(size_t{4} << 20);
  for (size_t i = 0; i < block.size(); ++i) {
    block[i] = static_cast<uint8_t>(generator());
    if (floats && i % 2 == 1) block[i] = static_cast<uint8_t>((block[i] & 0x83) | 0x3C);
    if (!floats && (block[i] & 0x7F) == 0x7F) block[i] = 0x3A;
  }
  return block;
}

struct Bench {
  Device& device;
  Scratch& scratch;
  std::vector<uint8_t> code_block = random_block(false), float_block = random_block(true);
  std::vector<void*> owned;
  int32_t pieces = 0;

  void* random_bytes(size_t bytes, bool floats) {
    void* there = device.allocate(bytes);
    if (there == nullptr) {
      std::printf("no memory for %zu bytes\n", bytes);
      std::exit(1);
    }
    owned.push_back(there);
    const std::vector<uint8_t>& block = floats ? float_block : code_block;
    for (size_t done = 0; done < bytes; done += block.size())
      device.upload(static_cast<uint8_t*>(there) + done, block.data(),
                    std::min(block.size(), bytes - done));
    return there;
  }
  void release() {
    for (void* m : owned) device.release(m);
    owned.clear();
  }
};

struct Product {
  const char* name;
  DType dtype;
  int32_t outs, cols;
  bool exact = false;
};

double microseconds(Bench& b, const Product& p, Compute compute, int32_t rows,
                    const std::vector<Weight>& weights, const void* x, float* y) {
  constexpr int kProducts = 24;
  const ReplayKey key = {.what = ++b.pieces};
  const auto say = [&] {
    b.scratch.reset();
    const OpContext ctx = {.scratch = &b.scratch, .compute = compute, .device = &b.device};
    for (int i = 0; i < kProducts; ++i)
      cuda_ops()->linear(ctx, {.x = x,
                               .x_dtype = DType::bf16,
                               .x_stride = p.cols,
                               .rows = rows,
                               .weight = weights[static_cast<size_t>(i) % weights.size()],
                               .y = y,
                               .y_stride = p.outs,
                               .exact = p.exact});
  };
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  for (int warm = 0; warm < 3; ++warm) b.device.replay(key, say);
  if (!b.device.wait().ok()) return -1;
  for (int i = 0; i < 5; ++i) {
    const int replays = 4;
    const auto begin = Clock::now();
    for (int r = 0; r < replays; ++r) b.device.replay(key, say);
    if (!b.device.wait().ok()) return -1;
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count() /
                    (replays * kProducts));
    if (times.back() > 2000 && i > 0) break;
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void table(Bench& b, const Product& p, Compute compute, const std::vector<int32_t>& batches) {
  const int32_t most = batches.back();
  const size_t bytes =
      static_cast<size_t>(p.outs) * static_cast<size_t>(p.cols * dtype_bytes(p.dtype));
  const size_t copies =
      std::clamp<size_t>((size_t{200} << 20) / bytes + 1, bytes > (size_t{400} << 20) ? 1 : 3, 24);
  std::vector<Weight> weights(copies);
  const int32_t scale_cols = (p.cols + 127) / 128;
  const auto* scales = static_cast<const float*>(
      b.random_bytes(static_cast<size_t>((p.outs + 127) / 128 * scale_cols) * 4, true));
  for (Weight& w : weights)
    w = {.data = b.random_bytes(bytes, p.dtype != DType::f8_e4m3),
         .dtype = p.dtype,
         .rows = p.outs,
         .cols = p.cols,
         .row_stride = p.cols,
         .scale = p.dtype == DType::f8_e4m3 ? scales : nullptr,
         .scale_stride = scale_cols};
  const void* x = b.random_bytes(static_cast<size_t>(most) * static_cast<size_t>(p.cols) * 2, true);
  auto* y = static_cast<float*>(
      b.random_bytes(static_cast<size_t>(most) * static_cast<size_t>(p.outs) * 4, true));
  for (const int32_t rows : batches) {
    const double us = microseconds(b, p, compute, rows, weights, x, y);
    const double moved = static_cast<double>(bytes) + 2.0 * rows * p.cols + 4.0 * rows * p.outs;
    const double flops = 2.0 * rows * p.outs * p.cols;
    const double peak = p.exact || compute == Compute::float32 ? 60e6
                        : compute == Compute::fp8              ? 1580e6
                                                               : 790e6;
    const double floor = std::max(moved / 4.3e6, flops / peak);
    std::printf("%-6s %6dx%-5d M=%-5d %9.2f us %6.2f TB/s %6.1f TFLOP/s %5.1f%% of floor (%s)\n",
                p.name, p.outs, p.cols, rows, us, moved / us / 1e6, flops / us / 1e6,
                100 * floor / us, moved / 4.3e6 > flops / peak ? "bytes" : "operations");
  }
  std::fflush(stdout);
  b.release();
}

int run(int count, char** words) {
  const auto wanted = [&](const char* word) {
    return count < 2 || std::any_of(words + 1, words + count,
                                    [&](const char* w) { return std::strcmp(w, word) == 0; });
  };
  auto made = make_cuda_device({});
  if (!made.ok()) {
    std::printf("%s\n", made.error().text().c_str());
    return 1;
  }
  const auto scratch = make_scratch(*made.value());
  Bench b{.device = *made.value(), .scratch = *scratch};
  const std::vector<int32_t> batches = {1, 16, 64, 128, 256, 1024, 4096};
  constexpr std::pair<int32_t, int32_t> kShapes[] = {{2112, 7168}, {24576, 1536}, {7168, 16384},
                                                     {4096, 7168}, {7168, 2048},  {3072, 1536},
                                                     {512, 7168},  {7168, 256}};
  for (const auto& [outs, cols] : kShapes) {
    if (wanted("fp8")) table(b, {"fp8", DType::f8_e4m3, outs, cols}, Compute::bfloat16, batches);
    if (wanted("w8a8")) table(b, {"w8a8", DType::f8_e4m3, outs, cols}, Compute::fp8, batches);
  }
  if (wanted("bf16"))
    for (const auto& [outs, cols] : kShapes)
      table(b, {"bf16", DType::bf16, outs, cols}, Compute::bfloat16, batches);
  if (wanted("head"))
    table(b, {"bf16", DType::bf16, 129280, 7168}, Compute::bfloat16, {1, 16, 64, 128, 256, 1024});
  if (wanted("router"))
    for (const DType dtype : {DType::f32, DType::bf16})
      table(b, {dtype == DType::f32 ? "rt_f32" : "rt_b16", dtype, 256, 7168, true},
            Compute::bfloat16, {1, 4, 16, 32, 64, 128, 1024});
  if (wanted("f32"))
    for (const auto& [outs, cols] : {std::pair{4096, 4096}, {2112, 7168}})
      table(b, {"f32", DType::f32, outs, cols}, Compute::float32, {1, 16, 128, 1024, 4096});
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run(argc, argv); }
