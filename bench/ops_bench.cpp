// links: fathom_kernels
//
// How near to the machine's limits are the CPU operations? First the limits, measured here: reading
// 1 GB of memory piece by piece, and products in registers: float32 multiply-adds, pairs of bf16,
// tiles of bf16. Then each operation with weights that rotate through that 1 GB, as a model's
// layers do, in the shapes of a tiny V3 and of a 1.1 B model. `of` is the fraction of the nearer
// limit. Times are the best of many runs, since the machine may be shared. Usage: ops_bench
// [threads] [table] [shape].
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "kernels/cpu/inner.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/tiles.h"
#include "kernels/sample.h"

namespace fathom {
namespace {

constexpr size_t kPool = size_t{1} << 30;
constexpr size_t kReadPiece = size_t{16} << 20;

double seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Shape {
  const char* name;
  int32_t hidden, q_rank, heads, nope, rope, value, rank, inter, expert, experts, chosen, vocab;
};
constexpr Shape kTiny{"v3-tiny", 192, 96, 4, 32, 16, 24, 64, 320, 64, 16, 4, 512};
constexpr Shape kBillion{"1.1B", 1536, 768, 16, 128, 64, 128, 512, 4096, 512, 32, 4, 32000};

class Bench {
 public:
  Bench(const Ops& ops, const Inner& inner, int threads)
      : ops_(ops),
        inner_(inner),
        lanes_(make_lanes(threads)),
        scratch_(make_scratch()),
        pool_(kPool),
        scales_(kPool / 4096, 0.01f),
        floats_(size_t{64} << 20),
        clock_(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC) {
    // As bf16 and as e4m3 alike these bytes are ordinary numbers; subnormal ones would be timed
    // otherwise.
    for (size_t i = 0; i < pool_.size(); ++i) {
      const auto noise = static_cast<uint8_t>(i * 2654435761u >> 13);
      pool_[i] = static_cast<uint8_t>(i % 2 ? 0x3C + noise % 4 : 0x10 + noise % 0x60);
    }
    for (size_t i = 0; i < floats_.size(); ++i)
      floats_[i] = static_cast<float>(i % 97) * 0.01f - 0.5f;
  }

  void limits() {
    const int n = lanes_->count();
    std::vector<uint64_t> sums(static_cast<size_t>(n) * 8);
    const double read = best([&](int call) {
      const size_t at = static_cast<size_t>(call) * kReadPiece % kPool;
      lanes_->each(n, [&](int lane) {
        const size_t words = kReadPiece / 8 / static_cast<size_t>(n);
        const auto* p = reinterpret_cast<const uint64_t*>(pool_.data() + at) +
                        words * static_cast<size_t>(lane);
        uint64_t a = 0, b = 0, c = 0, d = 0;
        for (size_t i = 0; i < words; i += 32)
          a += p[i], b += p[i + 8], c += p[i + 16], d += p[i + 24];
        sums[static_cast<size_t>(lane) * 8] = a ^ b ^ c ^ d;
      });
    });
    read_ = static_cast<double>(kReadPiece) / read;
    flops_ = peak(inner_.burst);
    pairs_ = inner_.burst_pairs ? peak(inner_.burst_pairs) : flops_;
    const bool tiles = std::string(ops_.name) == "amx";
    tiles_ = tiles ? peak(tiles_amx()->burst) : 0;
    std::printf(
        "%s, %d threads: reads %.1f GB/s; GFLOP/s in registers: float32 %.0f, bf16 pairs %.0f"
        ", bf16 tiles %.0f\n",
        ops_.name, n, read_ / 1e9, flops_ / 1e9, pairs_ / 1e9, tiles_ / 1e9);
    std::printf("one hand-over to the lanes: %.2f us\n",
                1e6 * best([&](int) { lanes_->each(n, [](int) {}); }));
    std::printf("%-8s %-26s %6s %12s %9s %9s %6s\n", "shape", "operation", "rows", "us", "GB/s",
                "GFLOP/s", "of");
  }

  void run(const Shape& s) {
    for (const Compute compute : {Compute::float32, Compute::bfloat16})
      for (const DType dtype : {DType::bf16, DType::f8_e4m3}) {
        mode_ = std::string(compute == Compute::float32 ? "f32" : "bf16") +
                (dtype == DType::bf16 ? "/bf16" : "/fp8");
        ctx_ = {lanes_.get(), scratch_.get(), compute};
        for (const int32_t rows : {1, 8, 32, 512, 2048})
          linear(s, "o_proj", dtype, rows, s.hidden, s.heads * s.value);
        if (dtype == DType::bf16) linear(s, "lm_head", dtype, 1, s.vocab, s.hidden);
        for (const int32_t rows : {1, 8, 32, 512, 2048}) experts(s, dtype, rows);
      }
    for (const Compute compute : {Compute::float32, Compute::bfloat16})
      for (const DType cache : {DType::f32, DType::bf16}) {
        mode_ = std::string(compute == Compute::float32 ? "f32" : "bf16") +
                (cache == DType::f32 ? "/f32" : "/bf16");
        ctx_ = {lanes_.get(), scratch_.get(), compute};
        for (const int32_t context : {512, 8192}) attention(s, true, cache, 1, context);
        attention(s, false, cache, 512, 512);
      }
    mode_ = "f32";
    ctx_ = {lanes_.get(), scratch_.get(), Compute::float32};
    norm(s, 1);
    norm(s, 512);
    sampler(s);
  }

 private:
  // Seconds of the best call of fn(i), over at least 15 calls and a third of a second.
  template <class F>
  double best(F&& fn) const {
    double least = 1e9;
    const double end = seconds(CLOCK_MONOTONIC) + 0.35;
    for (int i = 0; i < 15 || seconds(CLOCK_MONOTONIC) < end; ++i) {
      const double begin = seconds(clock_);
      fn(i);
      least = std::min(least, seconds(clock_) - begin);
    }
    return least;
  }

  // Operations per second of products in registers, on all lanes.
  double peak(int64_t (*burst)(int64_t, float*)) const {
    const int n = lanes_->count();
    std::vector<float> sinks(static_cast<size_t>(n) * 16);
    std::vector<int64_t> done(static_cast<size_t>(n) * 8);
    const double t = best([&](int) {
      lanes_->each(n, [&](int lane) {
        done[static_cast<size_t>(lane) * 8] = burst(10000, &sinks[static_cast<size_t>(lane) * 16]);
      });
    });
    return 2.0 * static_cast<double>(done[0]) * n / t;
  }

  // What linear and experts multiply with.
  double product_peak() const {
    if (ctx_.compute == Compute::float32) return flops_;
    return tiles_ > 0 ? tiles_ : std::max(pairs_, flops_);
  }

  Weight weight(DType dtype, int32_t rows, int32_t cols, size_t& at) {
    const size_t bytes = static_cast<size_t>(rows) * static_cast<size_t>(cols * dtype_bytes(dtype));
    if (at + bytes > pool_.size()) at = 0;
    Weight w{
        .data = pool_.data() + at, .dtype = dtype, .rows = rows, .cols = cols, .row_stride = cols};
    if (dtype == DType::f8_e4m3) {
      w.scale = scales_.data();
      w.scale_stride = (cols + 127) / 128;
    }
    at += (bytes + 63) / 64 * 64;
    return w;
  }

  void report(const Shape& s, const std::string& name, int32_t rows, double seconds, double bytes,
              double macs, double peak) {
    const double least = std::max(bytes / read_, 2 * macs / peak);
    std::printf("%-8s %-26s %6d %12.1f %9.1f %9.1f %5.0f%%\n", s.name, (name + ' ' + mode_).c_str(),
                rows, seconds * 1e6, bytes / seconds / 1e9, 2 * macs / seconds / 1e9,
                100 * least / seconds);
    std::fflush(stdout);
  }

  void linear(const Shape& s, const char* name, DType dtype, int32_t rows, int32_t outs,
              int32_t cols) {
    size_t at = 0;
    std::vector<float> y(static_cast<size_t>(rows) * static_cast<size_t>(outs));
    const double t = best([&](int) {
      const Weight w = weight(dtype, outs, cols, at);
      ops_.linear(ctx_, {.x = floats_.data(),
                         .x_stride = cols,
                         .rows = rows,
                         .weight = w,
                         .y = y.data(),
                         .y_stride = outs});
    });
    const double weights = static_cast<double>(outs) * cols;
    report(s, name, rows, t, weights * static_cast<double>(dtype_bytes(dtype)), weights * rows,
           product_peak());
  }

  void experts(const Shape& s, DType dtype, int32_t rows) {
    size_t at = 0;
    const auto pairs = static_cast<size_t>(rows * s.chosen);
    std::vector<int32_t> ids(pairs);
    std::vector<bool> used(static_cast<size_t>(s.experts));
    for (int32_t t = 0; t < rows; ++t)
      for (int32_t j = 0; j < s.chosen; ++j) {
        const int32_t e = (t * 7 + j * 5) % s.experts;
        ids[static_cast<size_t>(t * s.chosen + j)] = e;
        used[static_cast<size_t>(e)] = true;
      }
    const std::vector<float> weights(pairs, 0.25f);
    std::vector<float> out(static_cast<size_t>(rows) * static_cast<size_t>(s.hidden));
    std::vector<ExpertWeights> w(static_cast<size_t>(s.experts));
    const double t = best([&](int) {
      for (auto& e : w)
        e = {weight(dtype, s.expert, s.hidden, at), weight(dtype, s.expert, s.hidden, at),
             weight(dtype, s.hidden, s.expert, at)};
      ops_.experts(ctx_, {.x = floats_.data(),
                          .x_stride = s.hidden,
                          .rows = rows,
                          .experts = w,
                          .first_expert = 0,
                          .ids = ids.data(),
                          .weights = weights.data(),
                          .chosen = s.chosen,
                          .out = out.data(),
                          .out_stride = s.hidden});
    });
    const double one = 3.0 * s.expert * s.hidden;
    const auto read = static_cast<double>(std::count(used.begin(), used.end(), true));
    report(s, "experts", rows, t, read * one * static_cast<double>(dtype_bytes(dtype)),
           one * static_cast<double>(pairs), product_peak());
  }

  void attention(const Shape& s, bool absorbed, DType cache_dtype, int32_t rows, int32_t context) {
    constexpr int32_t kBlock = 64;
    const int32_t width = s.rank + s.rope, blocks = (context + kBlock - 1) / kBlock;
    std::vector<BlockIndex> table;
    for (int32_t b = 0; b < blocks; ++b) table.push_back(b);
    const LatentCache cache{
        cache_dtype == DType::f32 ? static_cast<void*>(floats_.data()) : pool_.data(),
        cache_dtype,
        int64_t{kBlock} * width,
        kBlock,
        s.rank,
        s.rope};
    const AttentionSequence sequence{
        .first_row = 0, .rows = rows, .position = context - rows, .blocks = table};
    std::vector<float> out(static_cast<size_t>(rows * s.heads * s.value));
    size_t at = 0;
    const double t = best([&](int) {
      const MlaParams p{.sequences = {&sequence, 1},
                        .q = floats_.data(),
                        .q_stride = s.heads * (s.nope + s.rope),
                        .heads = s.heads,
                        .nope = s.nope,
                        .value = s.value,
                        .kv_b = weight(DType::bf16, s.heads * (s.nope + s.value), s.rank, at),
                        .cache = cache,
                        .scale = 0.1f,
                        .out = out.data(),
                        .out_stride = s.heads * s.value};
      absorbed ? ops_.mla_absorbed(ctx_, p) : ops_.mla_expanded(ctx_, p);
    });
    const double kv_b = static_cast<double>(s.heads) * (s.nope + s.value) * s.rank;
    const double seen = rows * (context - rows / 2.0);
    const double macs = absorbed ? rows * kv_b + seen * s.heads * (width + s.rank)
                                 : context * kv_b + seen * s.heads * (s.nope + s.rope + s.value);
    const double bytes = 2 * kv_b + static_cast<double>(context) * width *
                                        static_cast<double>(dtype_bytes(cache_dtype));
    report(s, (absorbed ? "absorbed @" : "expanded @") + std::to_string(context), rows, t, bytes,
           macs, flops_);
  }

  void norm(const Shape& s, int32_t rows) {
    std::vector<float> out(static_cast<size_t>(rows * s.hidden));
    const Weight w{.data = pool_.data(),
                   .dtype = DType::bf16,
                   .rows = 1,
                   .cols = s.hidden,
                   .row_stride = s.hidden};
    const double t = best([&](int) {
      ops_.rms_norm(ctx_, {.x = floats_.data(),
                           .x_stride = s.hidden,
                           .weight = w,
                           .eps = 1e-6f,
                           .rows = rows,
                           .width = s.hidden,
                           .out = out.data(),
                           .out_stride = s.hidden});
    });
    report(s, "rms_norm", rows, t, 8.0 * rows * s.hidden, 2.0 * rows * s.hidden, flops_);
  }

  // 128 k of vocabulary, whatever the shape: the published V3 has 129,280.
  void sampler(const Shape& s) {
    Sampler sampler;
    std::vector<float> logits(129280);
    for (size_t i = 0; i < logits.size(); ++i)
      // About normal with a deviation of 3, as a model's logits are.
      for (size_t j = 0; j < 12; ++j)
        logits[i] += 3 * floats_[(i * 12 + j) * 2654435761u % 1000003];
    const Sampling greedy{.temperature = 0}, nucleus{.temperature = 0.6f, .top_p = 0.95f},
        all{.temperature = 1.0f};
    for (const auto& [name, sampling] : {std::pair{"sample greedy", &greedy},
                                         {"sample top_p", &nucleus},
                                         {"sample plain", &all}}) {
      int position = 0;
      const double t = best([&](int) {
        (void)sampler.sample({.logits = logits, .sampling = sampling, .position = ++position}).ok();
      });
      report(s, name, 1, t, 4.0 * static_cast<double>(logits.size()), 0, flops_);
    }
  }

  const Ops& ops_;
  const Inner& inner_;
  std::unique_ptr<Lanes> lanes_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<uint8_t> pool_;
  std::vector<float> scales_;
  std::vector<float> floats_;
  clockid_t clock_;  // a single thread's own time leaves out what others do to it
  OpContext ctx_;
  std::string mode_;
  double read_ = 1, flops_ = 1, pairs_ = 0, tiles_ = 0;
};

int run(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const std::string table = argc > 2 ? argv[2] : cpu_ops().name;
  const Ops* ops = cpu_ops_named(table);
  if (!ops || threads < 1) {
    std::fprintf(
        stderr,
        "usage: ops_bench [threads >= 1] [portable | avx2 | avx512 | amx, if this machine has "
        "it] [v3-tiny | 1.1B]\n");
    return 2;
  }
  const Inner* inner = table == "avx512" || table == "amx" ? inner_avx512(true)
                       : table == "avx2"                   ? inner_avx2()
                                                           : &kInnerPortable;
  Bench bench(*ops, *inner, threads);
  bench.limits();
  const std::string shape = argc > 3 ? argv[3] : "";
  for (const Shape& s : {kTiny, kBillion})
    if (shape.empty() || shape == s.name) bench.run(s);
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run(argc, argv); }
