#include "cli/bench_engine.h"

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>

namespace fathom {
namespace {

template <class... Values>
std::string formatted(const char* format, Values... values) {
  std::array<char, 160> line{};
  std::snprintf(line.data(), line.size(), format, values...);
  return line.data();
}

}  // namespace

Result<Measurement> bench_engine(const TpEngineConfig& config, const MeasurePlan& plan,
                                 const Clock& clock) {
  FATHOM_TRY(const std::unique_ptr<Engine> engine, make_tp_engine(config));
  return measure_engine(*engine, plan, clock);
}

std::string measurement_table(const Measurement& measured) {
  std::string text = measured.engine.model + ", " + measured.engine.compute + ", tensor parallel " +
                     std::to_string(measured.engine.tensor_parallel) + "\n\n";
  text += formatted("%-10s %12s %14s %14s\n", "prefill", "prompt", "seconds", "tokens/s");
  for (const auto& figure : measured.prefill)
    text += formatted("%-10s %12d %14.4f %14.1f\n", "", figure.prompt_tokens, figure.seconds,
                      figure.tokens_per_second);
  text += formatted("%-10s %12s %14s %14s\n", "decode", "batch", "step ms", "tokens/s");
  for (const auto& figure : measured.decode) {
    text += formatted("%-10s %12d %14.3f %14.1f", "", figure.batch, figure.step_ms,
                      figure.tokens_per_second);
    if (figure.drafts > 0)
      text += formatted("   %d drafts, %.1f %% right", figure.drafts, 100 * figure.acceptance);
    text += "\n";
  }
  return text;
}

std::string measurement_json(const Measurement& measured, int32_t threads) {
  boost::json::array prefill;
  for (const auto& figure : measured.prefill)
    prefill.push_back(boost::json::object{{"prompt_tokens", figure.prompt_tokens},
                                          {"seconds", figure.seconds},
                                          {"tokens_per_second", figure.tokens_per_second}});
  boost::json::array decode;
  for (const auto& figure : measured.decode)
    decode.push_back(boost::json::object{{"batch", figure.batch},
                                         {"context", figure.context},
                                         {"drafts", figure.drafts},
                                         {"acceptance", figure.acceptance},
                                         {"step_ms", figure.step_ms},
                                         {"tokens_per_second", figure.tokens_per_second}});
  return boost::json::serialize(
             boost::json::object{{"model", measured.engine.model},
                                 {"compute", measured.engine.compute},
                                 {"tensor_parallel", measured.engine.tensor_parallel},
                                 {"threads", threads},
                                 {"prefill", prefill},
                                 {"decode", decode}}) +
         "\n";
}

}  // namespace fathom
