// links: fathom_engine
//
// Where does a step go, and how near is each operation to the nearer limit, reading or multiplying?
// One rank of a model whose table of operations counts what passes through it, by operation and
// shape: calls, time, weights and cache read, products, hand-overs to the lanes. A step takes
// `rows` tokens of each of `batch` sequences that have `context` tokens behind them: 1 decodes,
// more are a prompt. With one thread the time is its own processor time, with more it is wall time;
// the best of many steps, operation by operation, since the machine may be shared. Usage:
// step_bench DIR [threads] [batch] [context] [float32 | bfloat16] [rows].
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "comm/threads.h"
#include "kernels/cpu/host_device.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/limits.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"
#include "kv/pool.h"
#include "model/forward.h"
#include "model/prefault.h"
#include "model/safetensors.h"
#include "model/traffic.h"

namespace fathom {
namespace {

constexpr int32_t kDecodingSteps = 60, kPromptSteps = 5;

double seconds(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double bytes_of(const Weight& w) {
  const double scales = w.scale ? 4.0 * w.rows * w.cols / kScaleBlock / kScaleBlock : 0;
  return static_cast<double>(w.rows) * w.cols * static_cast<double>(dtype_bytes(w.dtype)) + scales;
}
std::string shape_of(const Weight& w) {
  return std::to_string(w.rows) + " x " + std::to_string(w.cols);
}

// What a call is called, what it reads of weights and cache, and what it multiplies and adds.
struct Named {
  std::string name;
  double bytes = 0, flops = 0;
};

// Counts what one step does; its lanes are the rank's, so every operation finds the count.
class Count final : public Lanes {
 public:
  struct Line {
    int64_t calls = 0, handovers = 0;
    double seconds = 0, bytes = 0, flops = 0;
  };

  Count(const Ops& real, int threads)
      : real_(real),
        lanes_(make_lanes(threads)),
        clock_(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC) {}
  int count() const override { return lanes_->count(); }
  void stay_awake(bool awake) override { lanes_->stay_awake(awake); }
  void run(int count, void (*fn)(void* state, int index), void* state) override {
    ++handovers_;
    lanes_->run(count, fn, state);
  }

  template <class F>
  void add(const Named& what, F&& fn) {
    handovers_ = 0;
    const double begin = seconds(clock_);
    fn(real_);
    Line& line = lines_[what.name];
    line.seconds += seconds(clock_) - begin;
    line.handovers += handovers_;
    line.bytes += what.bytes;
    line.flops += what.flops;
    ++line.calls;
  }
  double now() const { return seconds(clock_); }
  std::map<std::string, Line> take() { return std::exchange(lines_, {}); }

 private:
  const Ops& real_;
  std::unique_ptr<Lanes> lanes_;
  clockid_t clock_;
  std::map<std::string, Line> lines_;
  int64_t handovers_ = 0;
};

Named named(const LinearParams& p) {
  return {"linear " + shape_of(p.weight) + (p.exact ? " exact" : ""), bytes_of(p.weight),
          2.0 * p.rows * p.weight.rows * p.weight.cols};
}
Named named(const ExpertsParams& p) {
  const std::set<int32_t> ids(p.ids, p.ids + p.rows * p.chosen);
  double bytes = 0;
  for (const int32_t id : ids) {
    const ExpertWeights& e = p.experts[static_cast<size_t>(id - p.first_expert)];
    bytes += bytes_of(e.gate) + bytes_of(e.up) + bytes_of(e.down);
  }
  const Weight& gate = p.experts[0].gate;
  return {"experts", bytes, 6.0 * p.rows * p.chosen * gate.rows * gate.cols};
}
// Both forms read kv_b and the cache once. A pair is a row and a position it sees; absorbed, its
// products are as wide as latents, and a row passes kv_b; expanded, a position passes kv_b instead.
Named named(const MlaParams& p, bool absorbed) {
  const LatentCache& cache = p.cache;
  double positions = 0, rows = 0, pairs = 0;
  for (const AttentionSequence& s : p.sequences) {
    positions += s.position + s.rows;
    rows += s.rows;
    pairs += s.rows * (s.position + 0.5 * (s.rows + 1));
  }
  const double width = absorbed ? 2.0 * cache.rank + cache.rope : p.nope + cache.rope + p.value;
  const double through_kv_b = absorbed ? rows : positions;
  return {absorbed ? "attention, absorbed" : "attention, expanded",
          bytes_of(p.kv_b) +
              positions * static_cast<double>(latent_stride(cache.dtype, cache.rank, cache.rope) *
                                              dtype_bytes(cache.dtype)),
          2.0 * (pairs * p.heads * width + through_kv_b * p.kv_b.rows * p.kv_b.cols)};
}
Named named(const AddNormParams&) { return {"add_norm"}; }
Named named(const RmsNormParams&) { return {"rms_norm"}; }
Named named(const MlaPrepareParams&) { return {"mla_prepare"}; }
Named named(const RopeParams&) { return {"rope"}; }
Named named(const RouteParams&) { return {"route"}; }
Named named(const SwigluParams&) { return {"swiglu"}; }
Named named(const AddParams&) { return {"add"}; }
Named named(const EmbedParams&) { return {"embed"}; }
Named named(const GqaParams&) { return {"attention"}; }

template <auto Operation, class P>
void counted(const OpContext& ctx, const P& p) {
  Named what;
  if constexpr (std::is_same_v<P, MlaParams>)
    what = named(p, Operation == &Ops::mla_absorbed);
  else
    what = named(p);
  static_cast<Count*>(ctx.lanes)->add(what, [&](const Ops& real) { (real.*Operation)(ctx, p); });
}

Ops counted_ops(const Ops& real) {
  Ops ops = real;
  ops.embed = counted<&Ops::embed, EmbedParams>;
  ops.rms_norm = counted<&Ops::rms_norm, RmsNormParams>;
  ops.add_norm = counted<&Ops::add_norm, AddNormParams>;
  ops.linear = counted<&Ops::linear, LinearParams>;
  ops.rope = counted<&Ops::rope, RopeParams>;
  ops.mla_prepare = counted<&Ops::mla_prepare, MlaPrepareParams>;
  ops.mla_absorbed = counted<&Ops::mla_absorbed, MlaParams>;
  ops.mla_expanded = counted<&Ops::mla_expanded, MlaParams>;
  ops.gqa = counted<&Ops::gqa, GqaParams>;
  ops.swiglu = counted<&Ops::swiglu, SwigluParams>;
  ops.route = counted<&Ops::route, RouteParams>;
  ops.experts = counted<&Ops::experts, ExpertsParams>;
  ops.add = counted<&Ops::add, AddParams>;
  return ops;
}

struct Limits {
  double read_bytes_s = 0, flops_s = 0;
};

struct Steps {
  std::map<std::string, Count::Line> best;  // by operation
  std::vector<double> whole;
};

// The time a call needs at the limits it is nearer to.
double floor_of(const Count::Line& line, const Limits& limits) {
  return std::max(line.bytes / limits.read_bytes_s, line.flops / limits.flops_s);
}

void print(const Steps& steps, const Limits& limits) {
  std::printf("%-28s %6s %9s %10s %8s %9s %9s %6s %10s\n", "operation", "calls", "us", "MB", "GB/s",
              "GFLOP", "GFLOP/s", "of", "hand-overs");
  const auto row = [&](const std::string& name, const Count::Line& line, double floor) {
    std::printf("%-28s %6ld %9.0f %10.2f %8.1f %9.3f %9.1f %5.0f%% %10ld\n", name.c_str(),
                static_cast<long>(line.calls), line.seconds * 1e6, line.bytes / 1e6,
                line.bytes / line.seconds / 1e9, line.flops / 1e9, line.flops / line.seconds / 1e9,
                100 * floor / line.seconds, static_cast<long>(line.handovers));
  };
  double floor = 0;
  Count::Line sum;
  for (const auto& [name, line] : steps.best) {
    row(name, line, floor_of(line, limits));
    floor += floor_of(line, limits);
    sum.calls += line.calls;
    sum.handovers += line.handovers;
    sum.seconds += line.seconds;
    sum.bytes += line.bytes;
    sum.flops += line.flops;
  }
  row("all, the best of each", sum, floor);
  sum.seconds = *std::ranges::min_element(steps.whole);
  row("the best step", sum, floor);
  auto sorted = steps.whole;
  std::ranges::sort(sorted);
  sum.seconds = sorted[sorted.size() / 2];
  row("the median step", sum, floor);
}

struct Usage {
  std::string dir;
  int threads = 2;
  int32_t batch = 1, context = 64, rows = 1;
  Compute compute = Compute::bfloat16;
};

Status run(const Usage& use) {
  FATHOM_TRY(ModelConfig model, read_model_config(use.dir));
  model.draft_layers = 0;
  if (model.attention == AttentionKind::gqa) return invalid("has no latent attention", use.dir);
  FATHOM_TRY(const Checkpoint checkpoint, Checkpoint::open(use.dir));
  WeightReader reader(checkpoint, {});
  FATHOM_TRY(const ModelWeights weights, read_model_weights(model, {}, reader));
  FATHOM_CHECKED(prefault(checkpoint, reader.extents(), {}, {}));

  Count count(cpu_ops(), use.threads);
  const double start = seconds(CLOCK_MONOTONIC);
  const MachineLimits machine =
      measure_limits({.ops = &cpu_ops(), .lanes = &count, .seconds = [start] {
                        return seconds(CLOCK_MONOTONIC) - start;
                      }});
  const Limits limits{.read_bytes_s = machine.read_bytes_s,
                      .flops_s = use.compute == Compute::float32 ? machine.float32_flops_s
                                                                 : machine.bfloat16_flops_s};
  std::printf("%s, %d threads: reads %.1f GB/s, %.0f GFLOP/s\n", cpu_ops().name, use.threads,
              limits.read_bytes_s / 1e9, limits.flops_s / 1e9);

  const auto device = make_host_device();
  const auto scratch = make_scratch();
  const auto comm = std::move(make_thread_group(1).front());
  constexpr int32_t kBlock = 64;
  const int32_t times = use.rows == 1 ? kDecodingSteps : kPromptSteps;
  const int32_t blocks = (use.context + std::max(times, use.rows) + kBlock) / kBlock;
  const DType kv = use.compute == Compute::float32 ? DType::f32 : DType::bf16;
  FATHOM_TRY(const KvPool pool,
             KvPool::make(mla_layout(kv, model.cached_layers(), model.latent_width(), kBlock),
                          blocks * use.batch));
  const Ops ops = counted_ops(cpu_ops());
  RankParts parts{.config = &model,
                  .ops = &ops,
                  .context = {&count, scratch.get(), use.compute, device.get()},
                  .comm = comm.get()};
  for (int32_t layer = 0; layer < model.cached_layers(); ++layer)
    parts.caches.push_back(pool.layer(layer, model.kv_rank, model.rope));
  const auto rank = make_model_rank(parts, weights);

  std::vector<std::vector<BlockIndex>> tables(static_cast<size_t>(use.batch));
  for (size_t i = 0; i < tables.size(); ++i) {
    tables[i].resize(static_cast<size_t>(blocks));
    std::iota(tables[i].begin(), tables[i].end(), static_cast<BlockIndex>(i) * blocks);
  }
  const auto token = [&](size_t sequence, int32_t position) {
    return static_cast<TokenId>((sequence * 7'919 + static_cast<size_t>(position) * 104'729 + 17) %
                                static_cast<size_t>(model.vocab));
  };
  const int32_t prompt = use.context + (use.rows == 1 ? 0 : use.rows);
  Batch batch;
  std::vector<TokenId> tokens;
  const auto step = [&](int32_t position, int32_t rows) {
    batch.clear();
    tokens.clear();
    tokens.reserve(static_cast<size_t>(rows) * static_cast<size_t>(use.batch));
    for (size_t i = 0; i < tables.size(); ++i) {
      for (int32_t t = 0; t < rows; ++t) tokens.push_back(token(i, position + t));
      const int32_t first = batch.add({.tokens = std::span(tokens).last(static_cast<size_t>(rows)),
                                       .position = position,
                                       .prompt_tokens = prompt,
                                       .blocks = tables[i]},
                                      {});
      batch.want_logits(first + rows - 1);
    }
    return rank->forward(batch, [](int32_t, std::span<const float>, int32_t) { return Status(); });
  };
  constexpr int32_t kFill = 512;  // rows at a time of what stands behind the step
  for (int32_t at = 0; at < use.context; at += kFill)
    FATHOM_CHECKED(step(at, std::min(kFill, use.context - at)));
  Steps steps;
  for (int32_t i = 0; i < times; ++i) {
    count.take();
    const double begin = count.now();
    FATHOM_CHECKED(step(use.rows == 1 ? use.context + i : use.context, use.rows));
    steps.whole.push_back(count.now() - begin);
    for (const auto& [name, line] : count.take()) {
      const auto [at, fresh] = steps.best.try_emplace(name, line);
      if (!fresh && line.seconds / std::max(floor_of(line, limits), 1e-12) <
                        at->second.seconds / std::max(floor_of(at->second, limits), 1e-12))
        at->second = line;
    }
  }
  print(steps, limits);
  return {};
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) {
  fathom::Usage use;
  if (argc > 1) use.dir = argv[1];
  if (argc > 2) use.threads = std::atoi(argv[2]);
  if (argc > 3) use.batch = std::atoi(argv[3]);
  if (argc > 4) use.context = std::atoi(argv[4]);
  if (argc > 5 && std::string(argv[5]) == "float32") use.compute = fathom::Compute::float32;
  if (argc > 6) use.rows = std::atoi(argv[6]);
  if (use.dir.empty() || use.threads < 1 || use.batch < 1 || use.context < 0 || use.rows < 1) {
    std::fprintf(stderr,
                 "usage: step_bench DIR [threads] [batch] [context] [float32 | bfloat16] [rows]\n");
    return 2;
  }
  const fathom::Status status = fathom::run(use);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.error().text().c_str());
  return status.ok() ? 0 : 1;
}
