#include "cli/up_options.h"

#include <unistd.h>

#include <filesystem>

#include "cli/config_text.h"
#include "cli/process.h"
#include "engine/tp_engine.h"
#include "gateway/keys.h"
#include "gateway/prices.h"
#include "kernels/cuda/device.h"
#include "model/config.h"
#include "model/shard.h"
#include "net/ports.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShippedModel = "models/minnow";

// Beside the program or above it (build/<preset>/services/cli of the repository, or bin/ of an
// installation), and otherwise in the repository it was built from.
std::string shipped_model() {
  const auto holds = [](const fs::path& folder) {
    return fs::exists(folder / kShippedModel / "config.json");
  };
  for (fs::path folder = fs::path(own_executable()).parent_path(); folder.has_relative_path();
       folder = folder.parent_path())
    if (holds(folder)) return (folder / kShippedModel).string();
  return holds(FATHOM_REPOSITORY) ? (fs::path(FATHOM_REPOSITORY) / kShippedModel).string()
                                  : std::string();
}

Status check_model(const std::string& model) {
  std::error_code code;
  if (!fs::is_directory(model, code))
    return Error{Code::not_found, "there is no folder " + model, "--model"};
  if (!fs::exists(fs::path(model) / "config.json", code))
    return invalid(model + " holds no config.json, so it is not a checkpoint", "--model");
  return {};
}

// A model that can not be served is refused here, before processes are started for it.
Status settle_parallel(UpOptions& o) {
  constexpr int32_t kUsual = 2;
  const bool chosen = o.tensor_parallel != -1;
  const bool whole_ranks = o.expert_parallel > 1;
  if (whole_ranks && chosen && o.tensor_parallel > 1)
    return invalid("ranks of --expert-parallel are not divided further", "--tensor-parallel");
  if (whole_ranks && o.engine != "model")
    return invalid("the fake engine has no experts", "--expert-parallel");
  // A half of a model may begin inside of a block of 128 columns, which fp8 can not quantise.
  const bool fp8 = o.compute == "fp8";
  if (!chosen) o.tensor_parallel = o.gpus > 0 || whole_ranks || fp8 ? 1 : kUsual;
  if (o.engine != "model") return {};
  // Reading a pipe may never end; workers have a time in which to be ready, this has none.
  std::error_code code;
  if (!fs::is_regular_file(fs::path(o.model) / "config.json", code)) return {};
  const auto config = read_model_config(o.model);
  if (!config.ok()) return Error{config.error().code, config.error().text(), "--model"};
  if (const Status shared = check_experts_divide(*config, o.expert_parallel); !shared.ok())
    return Error{shared.error().code, shared.error().message, "--expert-parallel"};
  const Status divides = check_shardable(*config, o.tensor_parallel);
  if (divides.ok()) return {};
  if (chosen) return Error{divides.error().code, divides.error().message, "--tensor-parallel"};
  o.tensor_parallel = 1;
  return {};
}

Status check_counts(const UpOptions& o) {
  constexpr int32_t kWorkersMax = 64;
  for (const auto& [name, count] :
       {std::pair{"--prefill", o.prefill}, {"--decode", o.decode}, {"--both", o.both}})
    if (count < 0 || count > kWorkersMax) return invalid("must be 0 to 64", name);
  if (o.both == 0 && o.prefill == 0)
    return invalid("at least one worker must prefill", "--prefill");
  if (o.both == 0 && o.decode == 0) return invalid("at least one worker must decode", "--decode");
  if (o.tensor_parallel != -1 && (o.tensor_parallel < 1 || o.tensor_parallel > 64))
    return invalid("must be 1 to 64", "--tensor-parallel");
  if (o.expert_parallel < 1 || o.expert_parallel > 64)
    return invalid("must be 1 to 64", "--expert-parallel");
  return {};
}

Status check_keys(UpOptions& o) {
  if (o.keys.empty()) return {};
  const auto refused = [](const Error& error) {
    return Error{error.code, error.field + " " + error.message, "--keys"};
  };
  const auto text = read_keys_file(o.keys);
  if (!text.ok()) return refused(text.error());
  if (const auto ring = KeyRing::parse(*text, o.keys); !ring.ok()) return refused(ring.error());
  o.keys = fs::absolute(o.keys).lexically_normal().string();
  return {};
}

Status check_prices(const UpOptions& o) {
  for (const auto& [option, text] : {std::pair{"--price-input", &o.price_input},
                                     {"--price-cached-input", &o.price_cached_input},
                                     {"--price-output", &o.price_output}})
    if (!micros_of(*text)) return invalid(kPriceRule, option);
  if (!is_currency(o.currency)) return invalid(kCurrencyRule, "--currency");
  return {};
}

}  // namespace

Result<UpOptions> settle_up_options(UpOptions o) {
  if (o.device != "cpu" && o.device != "cuda" && o.device != "auto")
    return invalid("must be cpu, cuda or auto", "--device");
  if (o.device != "cpu" && o.engine == "model") o.gpus = cuda_device_count();
  if (o.device == "cuda" && cuda_device_count() == 0)
    return Error{Code::failed_precondition, cuda_absence(), "--device"};
  // Two workers on one GPU would hold the weights twice.
  if (o.gpus == 1 && o.prefill == -1 && o.decode == -1 && o.both == 0) o.both = 1;
  const int32_t split = o.both > 0 ? 0 : 1;
  if (o.prefill == -1) o.prefill = split;
  if (o.decode == -1) o.decode = split;
  FATHOM_CHECKED(check_counts(o));
  if (o.compute != "auto" && !compute_named(o.compute))
    return invalid("must be auto, float32, bfloat16 or fp8", "--compute");
  if (o.kv_dtype != "auto" && !kv_dtype_named(o.kv_dtype))
    return invalid("must be auto, float32, bfloat16 or int8", "--kv-dtype");
  FATHOM_CHECKED(check_keys(o));
  FATHOM_CHECKED(check_prices(o));
  if (o.port < 1 || o.port > 65535) return invalid("must be 1 to 65535", "--port");
  if (o.model.empty() && o.engine == "model") {
    o.model = shipped_model();
    o.shipped_model = true;
    if (o.model.empty())
      return Error{Code::not_found, "no checkpoint was given and none lies beside the program",
                   "--model"};
  }
  if (o.engine == "model") FATHOM_CHECKED(check_model(o.model));
  FATHOM_CHECKED(settle_parallel(o));
  if (!o.model.empty()) o.model = fs::absolute(o.model).lexically_normal().string();
  if (o.run_dir.empty()) o.run_dir = default_run_dir(o.port);
  o.run_dir = fs::absolute(o.run_dir).lexically_normal().string();
  if (const Status port = port_is_free(static_cast<uint16_t>(o.port)); !port.ok())
    return Error{Code::failed_precondition, "can not listen there: " + port.error().message,
                 "--port"};
  return o;
}

std::vector<std::string> up_arguments(const UpOptions& o) {
  std::vector<std::string> words = {"up",
                                    "--prefill",
                                    std::to_string(o.prefill),
                                    "--decode",
                                    std::to_string(o.decode),
                                    "--both",
                                    std::to_string(o.both),
                                    "--tensor-parallel",
                                    std::to_string(o.tensor_parallel),
                                    "--expert-parallel",
                                    std::to_string(o.expert_parallel),
                                    "--compute",
                                    o.compute,
                                    "--kv-dtype",
                                    o.kv_dtype,
                                    "--device",
                                    o.device,
                                    "--port",
                                    std::to_string(o.port),
                                    "--host",
                                    o.host,
                                    "--run-dir",
                                    o.run_dir,
                                    "--engine",
                                    o.engine,
                                    "--ready-timeout",
                                    config_detail::scalar_text(o.ready_seconds),
                                    "--drain-timeout",
                                    config_detail::scalar_text(o.drain_seconds)};
  if (!o.shipped_model && !o.model.empty()) words.insert(words.end(), {"--model", o.model});
  if (!o.keys.empty()) words.insert(words.end(), {"--keys", o.keys});
  for (const auto& [option, value] : {std::pair{"--price-input", &o.price_input},
                                      {"--price-cached-input", &o.price_cached_input},
                                      {"--price-output", &o.price_output},
                                      {"--currency", &o.currency}})
    words.insert(words.end(), {option, *value});
  if (o.speculative) words.emplace_back("--speculative");
  if (!o.question) words.emplace_back("--no-question");
  if (!o.prefix_cache) words.emplace_back("--no-prefix-cache");
  return words;
}

std::string default_run_dir(int32_t port) {
  const std::string name = "fathom-" + std::to_string(::getuid()) + "-" + std::to_string(port);
  return (fs::temp_directory_path() / name).string();
}

}  // namespace fathom
