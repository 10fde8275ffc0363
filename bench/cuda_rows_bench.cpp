// links: fathom_kernels
// How near to the memory's speed do row operations and the sampler run on a GPU? Each is recorded
// many times over rotating copies, larger together than the L2 cache, and replayed; printed are
// microseconds of one, terabytes a second, and the part of the 4.3 TB/s that a copy reaches.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/batch_sampler.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cuda/device.h"

namespace fathom {
namespace {

constexpr double kCopySpeed = 4.3e12;  // bytes a second, read and written, on an H200

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Bench {
 public:
  Bench() : device(make_cuda_device({}).value()), scratch(make_scratch(*device)) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0.0f, 3.0f);
    std::vector<float> values(size_t{1} << 24);
    for (float& v : values) v = normal(random);
    for (int i = 0; i < kCopies; ++i) {
      auto* copy = static_cast<float*>(device->allocate(kCopyBytes));
      for (size_t at = 0; at < kCopyBytes / 4; at += values.size())
        device->upload(copy + at, values.data(), std::min(values.size(), kCopyBytes / 4 - at) * 4);
      copies.push_back(copy);
    }
    for (int i = 0; i < kCopies; ++i) outs.push_back(device->allocate(kCopyBytes));
  }

  // op(ctx, i) with i naming a copy; `bytes` are what one must move.
  template <class Op>
  void time(const char* name, int rows, int width, double bytes, const Op& op) {
    const int repeats = std::clamp(static_cast<int>(2e-3 / (bytes / kCopySpeed + 3e-6)), 6, 200);
    const OpContext ctx{
        .scratch = scratch.get(), .compute = Compute::bfloat16, .device = device.get()};
    const ReplayKey key{.what = ++recorded_, .rows = rows};
    std::vector<double> times;
    for (int round = 0; round < 9; ++round) {
      const double start = now();
      device->replay(key, [&] {
        for (int i = 0; i < repeats; ++i) op(ctx, static_cast<size_t>(i % kCopies));
      });
      if (!device->wait().ok())
        return void(std::printf("%s: %s\n", name, device->wait().error().text().c_str()));
      if (round > 2) times.push_back(now() - start);
    }
    std::sort(times.begin(), times.end());
    const double each = times[times.size() / 2] / repeats;
    std::printf("%-22s %6d x %6d %9.2f us %6.2f TB/s %4.0f%%\n", name, rows, width, each * 1e6,
                bytes / each * 1e-12, bytes / each / kCopySpeed * 100);
  }

  static constexpr int kCopies = 3;
  static constexpr size_t kCopyBytes = size_t{300} << 20;
  std::unique_ptr<Device> device;
  std::unique_ptr<Scratch> scratch;
  std::vector<float*> copies;
  std::vector<void*> outs;

 private:
  int recorded_ = 0;
};

void row_operations(Bench& b) {
  const Ops& ops = *cuda_ops();
  auto* weight = static_cast<uint16_t*>(b.device->allocate(65536));
  b.device->fill_zero(weight, 65536);
  for (const int rows : {1, 16, 128, 1024, 4096}) {
    for (const int width : {512, 1536, 7168}) {
      const Weight w{
          .data = weight, .dtype = DType::bf16, .rows = 1, .cols = width, .row_stride = width};
      const double n = double(rows) * width;
      b.time("rms_norm f32", rows, width, n * 8, [&](const OpContext& ctx, size_t i) {
        ops.rms_norm(ctx, {.x = b.copies[i],
                           .x_stride = width,
                           .weight = w,
                           .rows = rows,
                           .width = width,
                           .out = b.outs[i],
                           .out_stride = width});
      });
      b.time("rms_norm bf16", rows, width, n * 6, [&](const OpContext& ctx, size_t i) {
        ops.rms_norm(ctx, {.x = b.copies[i],
                           .x_stride = width,
                           .weight = w,
                           .rows = rows,
                           .width = width,
                           .out = b.outs[i],
                           .out_dtype = DType::bf16,
                           .out_stride = width});
      });
      if (width == 7168)
        b.time("add_norm bf16", rows, width, n * 14, [&](const OpContext& ctx, size_t i) {
          ops.add_norm(ctx, {.x = b.copies[i],
                             .add = b.copies[i] + (36 << 20),
                             .weight = w,
                             .rows = rows,
                             .width = width,
                             .out = b.outs[i],
                             .out_dtype = DType::bf16,
                             .out_stride = width});
        });
    }
    const double n = double(rows) * 7168;
    b.time("add", rows, 7168, n * 12, [&](const OpContext& ctx, size_t i) {
      ops.add(ctx,
              {.x = b.copies[i], .y = b.copies[i] + (36 << 20), .count = int64_t{rows} * 7168});
    });
    std::vector<int32_t> ids(static_cast<size_t>(rows));
    for (int i = 0; i < rows; ++i) ids[static_cast<size_t>(i)] = i * 37 % 10000;
    auto* there = static_cast<int32_t*>(b.device->allocate(ids.size() * 4));
    b.device->upload(there, ids.data(), ids.size() * 4);
    b.time("embed bf16", rows, 7168, n * 6, [&](const OpContext& ctx, size_t i) {
      ops.embed(ctx, {.tokens = {there, ids.size()},
                      .table = {.data = b.copies[i],
                                .dtype = DType::bf16,
                                .rows = 10000,
                                .cols = 7168,
                                .row_stride = 7168},
                      .out = static_cast<float*>(b.outs[i])});
    });
    b.time("swiglu bf16", rows, 18432 / 2, double(rows) * 9216 * 10,
           [&](const OpContext& ctx, size_t i) {
             ops.swiglu(ctx, {.gate = b.copies[i],
                              .up = b.copies[i] + 9216,
                              .in_stride = 18432,
                              .rows = rows,
                              .width = 9216,
                              .out = b.outs[i],
                              .out_dtype = DType::bf16,
                              .out_stride = 9216});
           });
    if (rows <= 2048)
      b.time("rope 128 of 192", rows, 64, double(rows) * 128 * 64 * 8,
             [&](const OpContext& ctx, size_t i) {
               ops.rope(ctx, {.x = b.copies[i] + 128,
                              .row_stride = 24576,
                              .head_stride = 192,
                              .rows = rows,
                              .heads = 128,
                              .width = 64,
                              .positions = there,
                              .frequencies = reinterpret_cast<float*>(weight)});
             });
  }
}

// Between the compressed projections of a V3 layer and its attention: one launch, or four.
void mla_inputs(Bench& b) {
  const Ops& ops = *cuda_ops();
  auto* weight = static_cast<uint16_t*>(b.device->allocate(65536));
  b.device->fill_zero(weight, 65536);
  const auto weights = [&](int32_t width) {
    return Weight{
        .data = weight, .dtype = DType::bf16, .rows = 1, .cols = width, .row_stride = width};
  };
  for (const int rows : {1, 128, 4096}) {
    std::vector<int32_t> positions(static_cast<size_t>(rows));
    std::vector<int64_t> slots(positions.size());
    for (size_t i = 0; i < slots.size(); ++i) slots[i] = positions[i] = static_cast<int32_t>(i);
    auto* there = static_cast<int32_t*>(b.device->allocate(positions.size() * 4));
    b.device->upload(there, positions.data(), positions.size() * 4);
    auto* slots_there = static_cast<int64_t*>(b.device->allocate(slots.size() * 8));
    b.device->upload(slots_there, slots.data(), slots.size() * 8);
    const auto params = [&](size_t i) {
      MlaPrepareParams p;
      p.q = {.x = b.copies[i],
             .x_stride = 1536,
             .weight = weights(1536),
             .rows = rows,
             .width = 1536,
             .out = b.outs[i],
             .out_dtype = DType::bf16,
             .out_stride = 1536};
      p.latent = {.x = b.copies[i] + (16 << 20),
                  .x_stride = 576,
                  .weight = weights(512),
                  .rows = rows,
                  .positions = there,
                  .frequencies = reinterpret_cast<const float*>(weight),
                  .slots = slots_there,
                  .cache = {static_cast<char*>(b.outs[i]) + (64 << 20), DType::bf16, 64 * 576, 64,
                            512, 64}};
      return p;
    };
    const double bytes = rows * (1536 * 6.0 + 576 * 6.0);
    b.time("mla_prepare", rows, 2112, bytes,
           [&](const OpContext& ctx, size_t i) { ops.mla_prepare(ctx, params(i)); });
    b.time("  its parts, but write", rows, 2112, bytes, [&](const OpContext& ctx, size_t i) {
      const MlaPrepareParams p = params(i);
      ops.rms_norm(ctx, p.q);
      ops.rms_norm(ctx, {.x = p.latent.x,
                         .x_stride = 576,
                         .weight = weights(512),
                         .rows = rows,
                         .width = 512,
                         .out = static_cast<float*>(b.outs[i]) + (16 << 20),
                         .out_stride = 512});
      ops.rope(ctx, {.x = b.copies[i] + (32 << 20) + 512,
                     .row_stride = 576,
                     .rows = rows,
                     .heads = 1,
                     .width = 64,
                     .positions = there,
                     .frequencies = reinterpret_cast<const float*>(weight)});
    });
  }
}

// The whole call: upload, kernels, download and host work.
void sampler(Bench& b) {
  auto sampler = make_cuda_sampler(*b.device);
  const int vocab = 129280;
  const struct {
    const char* name;
    Sampling sampling;
  } kinds[] = {{"greedy", {.temperature = 0}},
               {"draw", {.seed = 3}},
               {"top-p 0.95", {.temperature = 0.6f, .top_p = 0.95f, .seed = 3}},
               {"top-k 50, top-p 0.9", {.top_p = 0.9f, .top_k = 50, .seed = 3}},
               {"greedy, 20 logprobs", {.temperature = 0, .logprobs = 20}}};
  for (const auto& kind : kinds)
    for (const int rows : {1, 16, 128}) {
      std::vector<double> times;
      for (int round = 0; round < 12; ++round) {
        std::vector<SampleInput> inputs;
        for (int r = 0; r < rows; ++r)
          inputs.push_back(
              {.logits = {b.copies[static_cast<size_t>(round % 3)] + int64_t{r} * vocab, vocab},
               .sampling = &kind.sampling,
               .position = r});
        const double start = now();
        const auto got = sampler->sample(inputs);
        if (round > 2) times.push_back(now() - start);
        if (!got[0].ok()) return void(std::printf("%s\n", got[0].error().text().c_str()));
      }
      std::sort(times.begin(), times.end());
      std::printf("sample %-20s %4d rows %9.1f us a call\n", kind.name, rows,
                  times[times.size() / 2] * 1e6);
    }
}

}  // namespace
}  // namespace fathom

int main() {
  if (fathom::cuda_device_count() == 0) return std::puts(fathom::cuda_absence().c_str()), 0;
  fathom::Bench bench;
  fathom::sampler(bench);
  fathom::mla_inputs(bench);
  fathom::row_operations(bench);
}
