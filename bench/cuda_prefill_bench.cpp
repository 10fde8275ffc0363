// links: fathom_kernels
// How near to the tensor cores does a prompt's attention run on a GPU? Expanded latent attention in
// DeepSeek V3's shape (192 / 128 columns, rank 512, FP8 kv_b, bf16 cache) and grouped-query
// attention: microseconds a call, TFLOP/s and the percentage of 790 TFLOP/s of bf16 that were
// measured on an H200. Expanded attention counts 640 operations per (query, key, head); making keys
// and values out of latents is in its time and not in its operations. Decode rows of grouped
// queries count bytes against 4.3 TB/s. Arguments: words that pick tables (mla, gqa); none is all.
// `one`: a single shape, for a profiler.
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

using Clock = std::chrono::steady_clock;

struct Bench {
  Device& device;
  Scratch& scratch;
  std::vector<void*> owned;

  void* take(size_t bytes) {
    void* there = device.allocate(bytes);
    if (there == nullptr) {
      std::printf("no memory for %zu bytes\n", bytes);
      std::exit(1);
    }
    owned.push_back(there);
    return there;
  }
  template <class T>
  const T* put(const std::vector<T>& values) {
    auto* there = static_cast<T*>(take(values.size() * sizeof(T)));
    device.upload(there, values.data(), values.size() * sizeof(T));
    return there;
  }
  // A block of random values over and over.
  template <class T>
  T* filled(size_t count, const std::vector<T>& block) {
    auto* there = static_cast<T*>(take(count * sizeof(T)));
    for (size_t done = 0; done < count; done += block.size())
      device.upload(there + done, block.data(), std::min(block.size(), count - done) * sizeof(T));
    return there;
  }
  void release() {
    for (void* m : owned) device.release(m);
    owned.clear();
  }
};

std::vector<float> normal_floats(size_t count, float spread) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> v(count);
  for (float& x : v) x = normal(generator);
  return v;
}
std::vector<uint16_t> normal_bf16(size_t count, float spread) {
  std::vector<uint16_t> out(count);
  const auto v = normal_floats(count, spread);
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &v[i], 4);
    out[i] = static_cast<uint16_t>((bits + 0x8000) >> 16);
  }
  return out;
}

// Median microseconds of `say`.
template <class Say>
double microseconds(Bench& b, const Say& say) {
  std::vector<double> times;
  for (int i = 0; i < 3; ++i) {
    b.scratch.reset();
    say();
  }
  if (!b.device.wait().ok()) {
    std::printf("%s\n", b.device.wait().error().text().c_str());
    std::exit(1);
  }
  const auto start = Clock::now();
  while (times.size() < 5 || (times.size() < 9 && Clock::now() - start < std::chrono::seconds(1))) {
    constexpr int kCalls = 4;
    const auto begin = Clock::now();
    for (int i = 0; i < kCalls; ++i) {
      b.scratch.reset();
      say();
    }
    if (!b.device.wait().ok()) std::exit(1);
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count() /
                    kCalls);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// `count` runs of `rows` rows from `position` on, each with its own blocks of 64 tokens.
AttentionTables tables(Bench& b, int32_t count, int32_t rows, int32_t position) {
  const int32_t blocks_each = (position + rows + 63) / 64;
  std::vector<AttentionRun> runs;
  std::vector<BlockIndex> blocks;
  std::vector<int32_t> row_runs;
  for (int32_t i = 0; i < count; ++i) {
    runs.push_back({i * rows, rows, position, i * blocks_each});
    for (int32_t k = 0; k < blocks_each; ++k) blocks.push_back(i * blocks_each + k);
    row_runs.insert(row_runs.end(), static_cast<size_t>(rows), i);
  }
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(5));
  return {.runs = b.put(runs),
          .blocks = b.put(blocks),
          .row_runs = b.put(row_runs),
          .count = count,
          .rows_total = count * rows,
          .rows_max = rows,
          .context_max = position + rows};
}

double pairs_of(double count, double rows, double position) {
  return count * (rows * position + rows * (rows + 1) / 2);
}

void mla(Bench& b, int32_t heads, int32_t count, int32_t rows, int32_t position) {
  const AttentionTables t = tables(b, count, rows, position);
  const int64_t slots = int64_t{count} * ((position + rows + 63) / 64) * 64;
  std::vector<uint8_t> codes(size_t{1} << 20);
  std::mt19937 generator(1);
  for (uint8_t& c : codes) {
    c = static_cast<uint8_t>(generator());
    if ((c & 0x7F) == 0x7F) c = 0x3A;
  }
  const size_t outs = static_cast<size_t>(heads) * 256;
  MlaParams p{
      .sequences = {},
      .tables = t,
      .q = b.filled(static_cast<size_t>(t.rows_total) * static_cast<size_t>(heads) * 192,
                    normal_floats(1 << 20, 1.0f)),
      .q_stride = int64_t{heads} * 192,
      .heads = heads,
      .nope = 128,
      .value = 128,
      .kv_b = {.data = b.filled(outs * 512, codes),
               .dtype = DType::f8_e4m3,
               .rows = static_cast<int32_t>(outs),
               .cols = 512,
               .row_stride = 512,
               .scale = b.put(std::vector<float>(outs / 128 * 4, 5e-4f)),
               .scale_stride = 4},
      .cache = {.base = b.filled(static_cast<size_t>(slots) * 576, normal_bf16(1 << 20, 1.0f)),
                .dtype = DType::bf16,
                .block_stride = 64 * 576,
                .block_tokens = 64,
                .rank = 512,
                .rope = 64},
      .scale = 0.135f,
      .out_dtype = DType::bf16,
      .out_stride = int64_t{heads} * 128};
  p.out = b.take(static_cast<size_t>(t.rows_total) * static_cast<size_t>(p.out_stride) * 2);
  const OpContext ctx = {.scratch = &b.scratch, .compute = Compute::bfloat16, .device = &b.device};
  const double us = microseconds(b, [&] { cuda_ops()->mla_expanded(ctx, p); });
  const double attention = 640.0 * heads * pairs_of(count, rows, position);
  const double expansion = 2.0 * 512 * 256 * heads * count * (position + rows);
  std::printf(
      "mla heads %3d, %d x %5d rows after %5d: %10.1f us %6.1f TFLOP/s, %4.1f %% of 790; "
      "with expansion %6.1f TFLOP/s\n",
      heads, count, rows, position, us, attention / us * 1e-6, attention / us * 1e-6 / 7.9,
      (attention + expansion) / us * 1e-6);
  std::fflush(stdout);
  b.release();
}

void gqa(Bench& b, int32_t heads, int32_t kv_heads, int32_t dim, int32_t count, int32_t rows,
         int32_t position) {
  const AttentionTables t = tables(b, count, rows, position);
  const int64_t width = int64_t{2} * kv_heads * dim;
  const int64_t slots = int64_t{count} * ((position + rows + 63) / 64) * 64;
  GqaParams p{
      .sequences = {},
      .tables = t,
      .q = b.filled(static_cast<size_t>(t.rows_total) * static_cast<size_t>(heads * dim),
                    normal_floats(1 << 20, 1.0f)),
      .q_stride = int64_t{heads} * dim,
      .heads = heads,
      .kv_heads = kv_heads,
      .cache = {.base = b.filled(static_cast<size_t>(slots * width), normal_bf16(1 << 20, 1.0f)),
                .dtype = DType::bf16,
                .block_stride = 64 * width,
                .block_tokens = 64,
                .heads = kv_heads,
                .dim = dim},
      .scale = 0.088f,
      .out_dtype = DType::bf16,
      .out_stride = int64_t{heads} * dim};
  p.out = b.take(static_cast<size_t>(t.rows_total) * static_cast<size_t>(p.out_stride) * 2);
  const OpContext ctx = {.scratch = &b.scratch, .compute = Compute::bfloat16, .device = &b.device};
  const double us = microseconds(b, [&] { cuda_ops()->gqa(ctx, p); });
  const double flops = 4.0 * dim * heads * pairs_of(count, rows, position);
  const double bytes = 2.0 * static_cast<double>(width) * count * (position + rows);
  std::printf(
      "gqa heads %2d/%d dim %3d, %3d x %5d rows after %5d: %10.1f us %6.1f TFLOP/s, %4.1f %% of "
      "790; %4.2f TB/s, %4.1f %% of 4.3\n",
      heads, kv_heads, dim, count, rows, position, us, flops / us * 1e-6, flops / us * 1e-6 / 7.9,
      bytes / us * 1e-6, bytes / us * 1e-6 / 0.043);
  std::fflush(stdout);
  b.release();
}

int run(const std::vector<std::string>& words) {
  const auto wanted = [&](const char* word) {
    return words.empty() || std::find(words.begin(), words.end(), word) != words.end();
  };
  auto made = make_cuda_device({});
  if (!made.ok()) {
    std::printf("%s\n", made.error().text().c_str());
    return 1;
  }
  const auto device = std::move(made).value();
  const auto scratch = make_scratch(*device);
  Bench b{*device, *scratch, {}};
  if (!words.empty() && words[0] == "one") mla(b, 128, 1, 4096, 0);
  if (wanted("mla"))
    for (const int32_t heads : {16, 128}) {
      mla(b, heads, 1, 4096, 0);
      mla(b, heads, 1, 8192, 0);
      mla(b, heads, 1, 2048, 30720);
      mla(b, heads, 8, 512, 512);
    }
  if (wanted("gqa")) {
    gqa(b, 32, 8, 128, 1, 4096, 0);
    gqa(b, 32, 8, 128, 1, 2048, 14336);
    gqa(b, 16, 2, 64, 1, 4096, 0);
    for (const int32_t count : {1, 16, 64}) gqa(b, 32, 8, 128, count, 1, 8191);
    gqa(b, 32, 8, 128, 1, 1, 32767);
    gqa(b, 16, 2, 64, 32, 1, 4095);
  }
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int count, char** words) { return fathom::run({words + 1, words + count}); }
