// links: fathom_kernels
// How near are the router and the experts of a GPU to what its memory allows? Each line is one
// shape: microseconds of one call (the best of graph replays over calls of different tokens, so
// that no weights stay in cache; then their median), what that is of the weights' bytes at 4.3 TB/s
// and of bf16 products at 790 TFLOP/s, whichever is longer.
//   cuda_experts_bench [bfloat16|float32|w8a8] [v3|tp8|lite|route]... [TOKENS]...
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/cpu/scratch.h"
#include "kernels/cuda/device.h"

namespace fathom {
namespace {

struct Shape {
  const char* name;
  int32_t experts, hidden, width, chosen, groups, kept;
  DType dtype;
};
constexpr Shape kShapes[] = {
    {"v3", 256, 7168, 2048, 8, 8, 4, DType::f8_e4m3},
    {"tp8", 256, 7168, 256, 8, 8, 4, DType::f8_e4m3},
    {"lite", 64, 2048, 1408, 6, 1, 1, DType::bf16},
};
constexpr int kSets = 4;  // calls of one recording, each with its own tokens

class Bench {
 public:
  Bench() : device_(std::move(make_cuda_device({})).value()), scratch_(make_scratch(*device_)) {}
  ~Bench() {
    for (void* m : owned_) device_->release(m);
  }

  std::byte* take(size_t bytes) {
    owned_.push_back(device_->allocate(bytes));
    if (owned_.back() == nullptr) {
      std::fprintf(stderr, "no memory for %zu bytes\n", bytes);
      std::exit(1);
    }
    return static_cast<std::byte*>(owned_.back());
  }
  template <class T>
  T* put(const std::vector<T>& v) {
    std::byte* to = take(v.size() * sizeof(T));
    device_->upload(to, v.data(), v.size() * sizeof(T));
    return reinterpret_cast<T*>(to);
  }
  std::vector<float> normal(size_t n, float spread) {
    std::normal_distribution<float> d(0.0f, spread);
    std::vector<float> v(n);
    for (float& x : v) x = d(random_);
    return v;
  }

  // As PlacedWeights lays experts out; all have the same random values.
  std::vector<ExpertWeights> weights(const Shape& s) {
    const size_t each = static_cast<size_t>(s.hidden) * static_cast<size_t>(s.width) *
                        static_cast<size_t>(dtype_bytes(s.dtype));
    const auto count = static_cast<size_t>(s.experts);
    std::vector<uint8_t> bytes(3 * each);
    for (size_t i = 0; i < bytes.size(); ++i) {
      const auto r = static_cast<uint32_t>(random_());
      if (s.dtype == DType::bf16)
        bytes[i] = static_cast<uint8_t>(i % 2 == 0 ? r : (r & 0x81) | 0x3C);  // about 2^-7
      else
        bytes[i] = static_cast<uint8_t>((r & 0x7F) == 0x7F ? 0 : r);
    }
    std::byte* pairs = take(2 * each * count);
    std::byte* downs = take(each * count);
    const auto blocks = [](int32_t n) { return (n + kScaleBlock - 1) / kScaleBlock; };
    const auto table = static_cast<size_t>(blocks(s.hidden) * blocks(s.width));
    float* scales = put(std::vector<float>(3 * table * count, 1e-4f));
    device_->upload(pairs, bytes.data(), 2 * each);
    device_->upload(downs, bytes.data() + 2 * each, each);
    std::vector<ExpertWeights> out;
    for (size_t e = 0; e < count; ++e) {
      if (e > 0) device_->copy(pairs + e * 2 * each, pairs, 2 * each);
      if (e > 0) device_->copy(downs + e * each, downs, each);
      const auto view = [&](const std::byte* data, int32_t rows, int32_t cols, size_t which) {
        Weight w{.data = data, .dtype = s.dtype, .rows = rows, .cols = cols, .row_stride = cols};
        if (s.dtype == DType::f8_e4m3) {
          w.scale = scales + (3 * e + which) * table;
          w.scale_stride = blocks(cols);
        }
        return w;
      };
      out.push_back({view(pairs + e * 2 * each, s.width, s.hidden, 0),
                     view(pairs + e * 2 * each + each, s.width, s.hidden, 1),
                     view(downs + e * each, s.hidden, s.width, 2)});
    }
    return out;
  }

  struct Tokens {
    RouteParams route;
    std::byte* x;  // bf16
    float* out;
    int32_t distinct;
  };
  // Popular experts, and the groups and scores of V3.
  Tokens tokens(const Shape& s, int32_t rows) {
    const auto pairs = static_cast<size_t>(rows) * static_cast<size_t>(s.chosen);
    Tokens t{};
    std::vector<float> logits =
        normal(static_cast<size_t>(rows) * static_cast<size_t>(s.experts), 1.0f);
    if (bias_.size() != static_cast<size_t>(s.experts))
      bias_ = normal(static_cast<size_t>(s.experts), 0.1f);
    t.route = {.logits = put(logits),
               .bias = put(bias_),
               .rows = rows,
               .experts = s.experts,
               .groups = s.groups,
               .groups_kept = s.kept,
               .chosen = s.chosen,
               .factor = 2.5f};
    std::vector<int32_t> ids(pairs);
    t.route.ids = put(ids);
    t.route.weights = put(std::vector<float>(pairs));
    cuda_ops()->route(context(Compute::float32), t.route);
    check(device_->download(ids.data(), t.route.ids, pairs * 4));
    t.distinct = static_cast<int32_t>(std::set<int32_t>(ids.begin(), ids.end()).size());
    std::vector<uint16_t> x(static_cast<size_t>(rows) * static_cast<size_t>(s.hidden));
    for (uint16_t& v : x) {
      const auto r = static_cast<uint32_t>(random_());
      v = static_cast<uint16_t>((r & 0x807F) | ((0x7C + (r >> 20) % 4) << 7));
    }
    t.x = reinterpret_cast<std::byte*>(put(x));
    t.out = put(std::vector<float>(x.size()));
    return t;
  }

  OpContext context(Compute compute) {
    return {.scratch = scratch_.get(), .compute = compute, .device = device_.get()};
  }

  static const char* name_of(Compute compute) {
    return compute == Compute::float32    ? "float32"
           : compute == Compute::bfloat16 ? "bfloat16"
                                          : "w8a8";
  }

  // Microseconds of one of the `calls` that `say` says.
  struct Times {
    double best, median;
  };
  template <class F>
  Times time(int calls, F&& say) {
    ++what_;
    std::vector<double> times;
    for (int i = 0; i < 16; ++i) {
      if (i < 2) scratch_->reset();  // grown, then one piece
      check(device_->wait());
      const auto begin = std::chrono::steady_clock::now();
      device_->replay({.what = what_}, say);
      check(device_->wait());
      const std::chrono::duration<double, std::micro> took =
          std::chrono::steady_clock::now() - begin;
      if (i > 3) times.push_back(took.count() / calls);
    }
    std::sort(times.begin(), times.end());
    return {times[0], times[times.size() / 2]};
  }

  void run_experts(const Shape& s, Compute compute, const std::vector<int32_t>& sizes) {
    const auto experts = weights(s);
    const double each = 3.0 * s.hidden * s.width;
    std::printf("experts %s, %d of %d of %dx%d, %s\n", s.name, s.chosen, s.experts, s.hidden,
                s.width, name_of(compute));
    for (const int32_t rows : sizes) {
      std::vector<Tokens> sets;
      double distinct = 0;
      for (int i = 0; i < kSets; ++i) {
        sets.push_back(tokens(s, rows));
        distinct += static_cast<double>(sets.back().distinct) / kSets;
      }
      const int rounds = rows <= 128 ? 5 : 1;
      const auto [us, median] = time(kSets * rounds, [&] {
        for (int round = 0; round < rounds; ++round)
          for (const Tokens& t : sets)
            cuda_ops()->experts(context(compute), {.x = t.x,
                                                   .x_dtype = DType::bf16,
                                                   .x_stride = s.hidden,
                                                   .rows = rows,
                                                   .experts = experts,
                                                   .ids = t.route.ids,
                                                   .weights = t.route.weights,
                                                   .chosen = s.chosen,
                                                   .out = t.out,
                                                   .out_stride = s.hidden});
      });
      const double bytes = distinct * each * static_cast<double>(dtype_bytes(s.dtype));
      const double flops = 2.0 * each * rows * s.chosen;
      const double memory = bytes / 4.3e6;
      const double products = flops / (compute == Compute::fp8 ? 1580e6 : 790e6);
      std::printf(
          "  T %5d  %5.1f experts  %9.1f us (%9.1f)  %5.2f TB/s  %6.1f TFLOP/s  floor %7.1f us "
          "(%s)  %5.1f %%\n",
          rows, distinct, us, median, bytes / us / 1e6, flops / us / 1e6,
          std::max(memory, products), memory > products ? "memory" : "products",
          100 * std::max(memory, products) / us);
      std::fflush(stdout);
    }
  }

  void run_route() {
    std::printf("route, 8 of 256 in 4 of 8 groups\n");
    for (const int32_t rows : {1, 16, 128, 1024, 4096}) {
      const Tokens t = tokens({"", 256, 8, 1, 8, 8, 4, DType::bf16}, rows);
      const auto [us, median] = time(20, [&] {
        for (int i = 0; i < 20; ++i) cuda_ops()->route(context(Compute::float32), t.route);
      });
      std::printf("  T %5d  %6.2f us (%6.2f)\n", rows, us, median);
    }
  }

 private:
  static void check(const Status& status) {
    if (status.ok()) return;
    std::printf("FAILED: %s\n", status.error().text().c_str());
    std::exit(1);
  }
  std::unique_ptr<Device> device_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<void*> owned_;
  std::vector<float> bias_;
  std::mt19937 random_{1};
  int32_t what_ = 0;
};

int run(const std::vector<std::string>& words) {
  if (cuda_device_count() == 0) {
    std::printf("%s\n", cuda_absence().c_str());
    return 0;
  }
  const auto says = [&](const char* w) {
    return std::find(words.begin(), words.end(), w) != words.end();
  };
  const Compute compute = says("float32") ? Compute::float32
                          : says("w8a8")  ? Compute::fp8
                                          : Compute::bfloat16;
  const bool all = !says("v3") && !says("tp8") && !says("lite") && !says("route");
  std::vector<int32_t> sizes;
  for (const std::string& word : words)
    if (const int n = std::atoi(word.c_str()); n > 0) sizes.push_back(n);
  if (sizes.empty()) sizes = {1, 8, 32, 128, 512, 1024, 4096};
  if (all || says("route")) Bench().run_route();
  for (const Shape& s : kShapes)
    if (all || says(s.name)) Bench().run_experts(s, compute, sizes);
  return 0;
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) { return fathom::run({argv + 1, argv + argc}); }
