#include "cli/bench_engine.h"

#include <sys/resource.h>

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/table.h"
#include "kernels/cuda/device.h"
#include "kernels/device_limits.h"

namespace fathom {
namespace {

template <class... Values>
std::string formatted(const char* format, Values... values) {
  std::array<char, 160> line{};
  std::snprintf(line.data(), line.size(), format, values...);
  return line.data();
}

Result<MachineLimits> limits_of(const TpEngineConfig& config, int32_t threads, const Clock& clock) {
  const auto lanes = make_lanes(threads);
  const Instant start = clock.now();
  if (config.device.cuda) {
    FATHOM_TRY(const auto device, make_cuda_device({.index = config.device.gpu}));
    return measure_device_limits(
        {.ops = cuda_ops(), .device = device.get(), .seconds = [&clock, start] {
           return (clock.now() - start).to_seconds();
         }});
  }
  return measure_limits(
      {.ops = config.kernels.empty() ? &cpu_ops() : cpu_ops_named(config.kernels),
       .lanes = lanes.get(),
       .seconds = [&clock, start] { return (clock.now() - start).to_seconds(); }});
}

uint64_t peak_resident_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

std::string memory_lines(const Measurement& measured) {
  const auto mb = [](uint64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  const EngineInfo& engine = measured.engine;
  const MemoryFigure& memory = measured.memory;
  std::string text = formatted(
      "%-10s weights %.1f MB, of them %.1f MB in pages of 2 MB, loaded in %.2f s\n", "memory",
      mb(engine.weight_bytes), mb(engine.weight_huge_bytes), memory.load_seconds);
  return text + formatted("%-10s peak %.1f MB: weights and %.1f MB; all KV blocks are %.1f MB\n",
                          "", mb(memory.peak_bytes),
                          mb(memory.peak_bytes) - mb(engine.weight_bytes), mb(memory.kv_bytes));
}

}  // namespace

double EngineBench::share_of_limit(const DecodeFigure& figure) const {
  const double bytes = traffic.step_bytes(figure.batch * (1 + figure.drafts), 0) +
                       traffic.kv_bytes * figure.batch * figure.context;
  return bytes / limits.read_bytes_s / (figure.step_ms * 1e-3);
}

double EngineBench::share_of_limit(const PrefillFigure& figure) const {
  // fp8: the CPU multiplies codes as float32, a GPU twice as fast as bf16.
  const bool fp8 = measured.engine.compute == "fp8";
  const double flops_s = measured.engine.compute == "bfloat16" || (fp8 && on_gpu)
                             ? limits.bfloat16_flops_s * (fp8 ? 2 : 1)
                             : limits.float32_flops_s;
  return traffic.prompt_flops(figure.prompt_tokens) / flops_s / figure.seconds;
}

Result<EngineBench> bench_engine(const TpEngineConfig& config, const MeasurePlan& plan,
                                 int32_t threads, const Clock& clock) {
  FATHOM_TRY(const ModelConfig model, read_model_config(config.model_dir));
  FATHOM_TRY(const Checkpoint checkpoint, Checkpoint::open(config.model_dir));
  const Instant began = clock.now();
  FATHOM_TRY(std::unique_ptr<Engine> engine, make_tp_engine(config));
  const double load_seconds = (clock.now() - began).to_seconds();
  const EngineInfo info = engine->info();
  EngineBench out{.traffic = model_traffic(checkpoint, model, info.kv),
                  .threads = threads,
                  .on_gpu = config.device.cuda};
  FATHOM_TRY(out.measured, measure_engine(*engine, plan, clock));
  out.measured.memory = {
      .load_seconds = load_seconds,
      .kv_bytes = static_cast<uint64_t>(info.blocks) * static_cast<uint64_t>(info.kv.block_bytes),
      .peak_bytes = peak_resident_bytes()};
  engine.reset();  // of a GPU it has taken all memory
  FATHOM_TRY(out.limits, limits_of(config, threads, clock));
  return out;
}

std::string bench_engine_table(const EngineBench& bench) {
  const EngineInfo& engine = bench.measured.engine;
  std::string text = engine.model + ", " + engine.compute + ", tensor parallel " +
                     std::to_string(engine.tensor_parallel) + "\n";
  text += formatted(
      "%s %.1f GB/s and multiplies %.0f (float32), %.0f (bfloat16) GFLOP/s\n",
      bench.on_gpu ? "one GPU copies" : (std::to_string(bench.threads) + " threads: reads").c_str(),
      bench.limits.read_bytes_s / 1e9, bench.limits.float32_flops_s / 1e9,
      bench.limits.bfloat16_flops_s / 1e9);
  text += formatted("one row of one step reads %.3f GB of weights\n\n",
                    bench.traffic.step_bytes(1, 0) / 1e9);
  text += memory_lines(bench.measured);
  text += formatted("%-10s %12s %14s %14s %10s\n", "prefill", "prompt", "seconds", "tokens/s",
                    "of limit");
  for (const auto& figure : bench.measured.prefill)
    text += formatted("%-10s %12d %14.4f %14.1f %8.1f %%\n", "", figure.prompt_tokens,
                      figure.seconds, figure.tokens_per_second, 100 * bench.share_of_limit(figure));
  text += formatted("%-10s %12s %14s %14s %10s\n", "decode", "batch", "step ms", "tokens/s",
                    "of limit");
  for (const auto& figure : bench.measured.decode) {
    text += formatted("%-10s %12d %14.3f %14.1f %8.1f %%", "", figure.batch, figure.step_ms,
                      figure.tokens_per_second, 100 * bench.share_of_limit(figure));
    if (figure.drafts > 0)
      text += formatted("   %d drafts, %.1f %% right", figure.drafts, 100 * figure.acceptance);
    text += "\n";
  }
  return text;
}

std::string bench_engine_json(const EngineBench& bench) {
  boost::json::array prefill;
  for (const auto& figure : bench.measured.prefill)
    prefill.push_back(boost::json::object{{"prompt_tokens", figure.prompt_tokens},
                                          {"seconds", figure.seconds},
                                          {"tokens_per_second", figure.tokens_per_second},
                                          {"share_of_limit", bench.share_of_limit(figure)}});
  boost::json::array decode;
  for (const auto& figure : bench.measured.decode)
    decode.push_back(boost::json::object{{"batch", figure.batch},
                                         {"context", figure.context},
                                         {"drafts", figure.drafts},
                                         {"acceptance", figure.acceptance},
                                         {"step_ms", figure.step_ms},
                                         {"tokens_per_second", figure.tokens_per_second},
                                         {"share_of_limit", bench.share_of_limit(figure)}});
  const boost::json::object limits{{"read_bytes_per_second", bench.limits.read_bytes_s},
                                   {"float32_flops_per_second", bench.limits.float32_flops_s},
                                   {"bfloat16_flops_per_second", bench.limits.bfloat16_flops_s}};
  return boost::json::serialize(
             boost::json::object{{"model", bench.measured.engine.model},
                                 {"compute", bench.measured.engine.compute},
                                 {"tensor_parallel", bench.measured.engine.tensor_parallel},
                                 {"threads", bench.threads},
                                 {"load_seconds", bench.measured.memory.load_seconds},
                                 {"weight_bytes", bench.measured.engine.weight_bytes},
                                 {"weight_huge_bytes", bench.measured.engine.weight_huge_bytes},
                                 {"kv_bytes", bench.measured.memory.kv_bytes},
                                 {"peak_bytes", bench.measured.memory.peak_bytes},
                                 {"limits", limits},
                                 {"weight_bytes_of_one_row", bench.traffic.step_bytes(1, 0)},
                                 {"prefill", prefill},
                                 {"decode", decode}}) +
         "\n";
}

}  // namespace fathom
