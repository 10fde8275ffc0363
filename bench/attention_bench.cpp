// links: fathom_kernels
//
// How near to the machine's limits is attention? Decode rows against the speed at which the cache
// can be read, prompts in multiply-adds per second, in the shapes of the 1.1 B model (16 heads,
// latent 512 + 64) and of a 1.5 B Qwen2 (12 heads over 2). Batches have contexts of their own, and
// layers rotate so that no cache is warm. Times are the best of many runs, since the machine may be
// shared. The last column is the share of what the nearer limit allows: reading the cache, or
// products in registers. Usage: attention_bench [threads] [table] [compute] [operation], where
// compute is bfloat16, float32 or both, and an operation may name one case, as mla_expanded:16384.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/limits.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"

namespace fathom {
namespace {

constexpr int32_t kBlock = 64, kHeads = 16, kNope = 128, kRope = 64, kValue = 128, kRank = 512;
constexpr size_t kPool = size_t{768} << 20;

double seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

class Bench {
 public:
  Bench(const Ops& ops, int threads)
      : ops_(ops),
        lanes_(make_lanes(threads)),
        scratch_(make_scratch()),
        pool_(kPool / 2),
        floats_(size_t{8} << 20),
        clock_(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC) {
    for (size_t i = 0; i < pool_.size(); ++i)
      pool_[i] = static_cast<uint16_t>(0x3C00 + i * 2654435761u % 0x300 + i % 2 * 0x8000);
    for (size_t i = 0; i < floats_.size(); ++i)
      floats_[i] = static_cast<float>(i * 2654435761u % 197) * 0.01f - 0.98f;
  }

  void limits() {
    const MachineLimits limits = measure_limits({.ops = &ops_,
                                                 .lanes = lanes_.get(),
                                                 .seconds = [&] { return seconds(clock_); },
                                                 .memory = kPool});
    read_ = limits.read_bytes_s;
    float32_ = limits.float32_flops_s;
    bfloat16_ = limits.bfloat16_flops_s;
    std::printf("%s, %d threads: reads %.1f GB/s, multiplies %.0f GFLOP/s, bfloat16 %.0f\n",
                ops_.name, lanes_->count(), read_ / 1e9, float32_ / 1e9, bfloat16_ / 1e9);
    std::printf("%-34s %6s %8s %11s %8s %9s %5s\n", "operation", "rows", "context", "us", "GB/s",
                "GFLOP/s", "of");
  }

  void run(Compute compute, const std::string& wanted) {
    wanted_ = wanted;
    ctx_ = {lanes_.get(), scratch_.get(), compute};
    mode_ = compute == Compute::float32 ? "float32" : "bfloat16";
    for (const int32_t context : {512, 8192, 32768}) mla(true, 1, 1, context);
    for (const int32_t batch : {8, 32}) mla(true, batch, 1, 512);
    mla(false, 1, 512, 512);
    mla(false, 1, 512, 2048);
    mla(false, 1, 512, 16384);
    mla(false, 1, 2048, 16384);
    gqa(1, 1, 8192);
    gqa(32, 1, 512);
    gqa(1, 512, 512);
    gqa(1, 512, 16384);
  }

 private:
  template <class F>
  double best(F&& fn) const {
    double least = 1e9;
    const double end = seconds(CLOCK_MONOTONIC) + 0.5;
    for (int i = 0; i < 3 || seconds(CLOCK_MONOTONIC) < end; ++i) {
      const double begin = seconds(clock_);
      fn(i);
      least = std::min(least, seconds(clock_) - begin);
    }
    return least;
  }
  // `batch` sequences of `rows` queries that end at `context`, each over its own blocks.
  std::vector<AttentionSequence> sequences(int32_t batch, int32_t rows, int32_t context) {
    const int32_t blocks = (context + kBlock - 1) / kBlock;
    tables_.assign(static_cast<size_t>(batch), {});
    std::vector<AttentionSequence> out;
    for (int32_t i = 0; i < batch; ++i) {
      auto& table = tables_[static_cast<size_t>(i)];
      for (int32_t b = 0; b < blocks; ++b) table.push_back(i * blocks + b);
      out.push_back(
          {.first_row = i * rows, .rows = rows, .position = context - rows, .blocks = table});
    }
    return out;
  }
  // The caches of a dozen layers, one after another in the pool.
  uint16_t* layer(int call, int64_t values) {
    const int64_t fit = std::clamp<int64_t>(static_cast<int64_t>(pool_.size()) / values, 1, 12);
    return pool_.data() + call % fit * values;
  }
  bool wants(const std::string& name, int32_t context) const {
    return (name + ':' + std::to_string(context)).starts_with(wanted_);
  }
  void report(const char* name, int32_t batch, int32_t rows, int32_t context, double t,
              double bytes, double macs) {
    const bool tiles = mode_ == "bfloat16" && std::string_view(ops_.name) == "amx";
    const double limit = std::max(bytes / read_, 2 * macs / (tiles ? bfloat16_ : float32_));
    std::printf("%-34s %6d %8d %11.1f %8.1f %9.1f %4.0f%%\n", (name + (' ' + mode_)).c_str(),
                batch * rows, context, t * 1e6, bytes / t / 1e9, 2 * macs / t / 1e9,
                100 * limit / t);
    std::fflush(stdout);
  }

  void mla(bool absorbed, int32_t batch, int32_t rows, int32_t context) {
    if (!wants(absorbed ? "mla_absorbed" : "mla_expanded", context)) return;
    const auto list = sequences(batch, rows, context);
    const int64_t values = int64_t{batch} * ((context + kBlock - 1) / kBlock) * kBlock * 576;
    std::vector<float> out(static_cast<size_t>(batch * rows * kHeads * kValue));
    const double t = best([&](int call) {
      const MlaParams p{
          .sequences = list,
          .q = floats_.data(),
          .q_stride = kHeads * (kNope + kRope),
          .heads = kHeads,
          .nope = kNope,
          .value = kValue,
          .kv_b = {.data = pool_.data() + call % 12 * (int64_t{2} << 20),
                   .dtype = DType::bf16,
                   .rows = kHeads * (kNope + kValue),
                   .cols = kRank,
                   .row_stride = kRank},
          .cache = {layer(call, values), DType::bf16, kBlock * 576, kBlock, kRank, kRope},
          .scale = 0.07f,
          .out = out.data(),
          .out_stride = kHeads * kValue};
      absorbed ? ops_.mla_absorbed(ctx_, p) : ops_.mla_expanded(ctx_, p);
    });
    const double kv_b = double{kHeads} * (kNope + kValue) * kRank;
    const double seen = double(batch) * rows * (context - rows / 2.0);
    report(absorbed ? "mla_absorbed" : "mla_expanded", batch, rows, context, t,
           2 * kv_b + static_cast<double>(values) * 2,
           absorbed ? batch * rows * kv_b + seen * kHeads * (576 + kRank)
                    : context * kv_b + seen * kHeads * (kNope + kRope + kValue));
  }

  void gqa(int32_t batch, int32_t rows, int32_t context) {
    if (!wants("gqa", context)) return;
    constexpr int32_t kQ = 12, kKv = 2, kDim = 128;
    const auto list = sequences(batch, rows, context);
    const int64_t width = 2 * kKv * kDim;
    const int64_t values = int64_t{batch} * ((context + kBlock - 1) / kBlock) * kBlock * width;
    std::vector<float> out(static_cast<size_t>(batch * rows * kQ * kDim));
    const double t = best([&](int call) {
      ops_.gqa(ctx_,
               {.sequences = list,
                .q = floats_.data(),
                .q_stride = kQ * kDim,
                .heads = kQ,
                .kv_heads = kKv,
                .cache = {layer(call, values), DType::bf16, kBlock * width, kBlock, kKv, kDim},
                .scale = 0.07f,
                .out = out.data(),
                .out_stride = kQ * kDim});
    });
    report("gqa", batch, rows, context, t, static_cast<double>(values) * 2,
           double(batch) * rows * (context - rows / 2.0) * kQ * 2 * kDim);
  }

  const Ops& ops_;
  std::unique_ptr<Lanes> lanes_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<uint16_t> pool_;
  std::vector<float> floats_;
  std::vector<std::vector<BlockIndex>> tables_;
  OpContext ctx_;
  std::string mode_;
  clockid_t clock_;  // a single thread's own time leaves out what others do to it
  double read_ = 1, float32_ = 1, bfloat16_ = 1;
  std::string wanted_;
};

int run(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  const Ops* ops = cpu_ops_named(argc > 2 ? argv[2] : cpu_ops().name);
  if (!ops || threads < 1) {
    std::fprintf(
        stderr,
        "usage: attention_bench [threads >= 1] [a table this machine has] [compute] [operation]\n");
    return 2;
  }
  Bench bench(*ops, threads);
  bench.limits();
  const std::string compute = argc > 3 ? argv[3] : "both", wanted = argc > 4 ? argv[4] : "";
  if (compute != "float32") bench.run(Compute::bfloat16, wanted);
  if (compute != "bfloat16") bench.run(Compute::float32, wanted);
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run(argc, argv); }
