#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <memory>
#include <thread>

#include <unistd.h>

#include "cli/api_key.h"
#include "cli/bench_engine.h"
#include "cli/bench_serve.h"
#include "cli/commands.h"
#include "kernels/cuda/device.h"

namespace fathom {
namespace {

Status write_json(const std::string& path, const std::string& text) {
  if (!path.empty() && !(std::ofstream(path) << text))
    return Error{Code::permission_denied, "can not be written", path};
  return {};
}

struct ServeWords {
  BenchServeOptions options;
  std::string prompt = "128";
  std::string output = "128";
  std::string key_file;
  std::string json_file;
};

Status run_serve(ServeWords& words) {
  if (!words.key_file.empty()) {
    FATHOM_TRY(words.options.key, read_api_key(words.key_file));
  }
  FATHOM_TRY(words.options.prompt, parse_length(words.prompt, "--prompt-tokens"));
  FATHOM_TRY(words.options.output, parse_length(words.output, "--output-tokens"));
  words.options.progress = ::isatty(2) == 1;
  const SystemClock clock;
  FATHOM_TRY(const BenchReport report, bench_serve(words.options, clock));
  std::cout << report_table(report) << std::flush;
  FATHOM_CHECKED(write_json(words.json_file, report_json(report)));
  if (report.requests_failed > 0) return Error{Code::unknown, "some requests failed", {}};
  return {};
}

void add_serve(CLI::App& bench, int& exit_code) {
  auto words = std::make_shared<ServeWords>();
  BenchServeOptions& o = words->options;
  CLI::App* serve =
      bench.add_subcommand("serve", "load a running cluster and measure its latencies");
  serve->add_option("--url", o.url, "where the gateway listens")->capture_default_str();
  serve->add_option("--model", o.model, "default: the first of /v1/models");
  auto* key = serve->add_option("--key", o.key, "API key; others on this machine can see it");
  serve->add_option("--key-file", words->key_file, "file whose first line is the API key")
      ->excludes(key);
  auto* users = serve
                    ->add_option("--concurrency", o.concurrency,
                                 "closed loop: users who wait for their answers")
                    ->capture_default_str();
  serve->add_option("--rate", o.rate, "open loop: requests per second, at random moments")
      ->excludes(users);
  serve->add_option("--requests", o.requests, "stop after so many");
  serve->add_option("--duration", o.seconds, "stop sending after so many seconds");
  serve->add_option("--prompt-tokens", words->prompt, "length, or range such as 64-256")
      ->capture_default_str();
  serve->add_option("--output-tokens", words->output, "length, or range such as 64-256")
      ->capture_default_str();
  serve->add_option("--lengths", o.lengths_file,
                    "file with a prompt and an output length in each line");
  serve->add_option("--vocab", o.vocab, "prompts are drawn from token ids 3 to this")
      ->capture_default_str();
  serve->add_option("--seed", o.seed, "of prompts, lengths and moments")->capture_default_str();
  serve->add_option("--json", words->json_file, "write the result there");
  serve->callback([words, &exit_code] {
    if (const Status status = run_serve(*words); !status.ok()) {
      std::cerr << "fathom bench serve: " << status.error().text() << "\n";
      exit_code = 1;
    }
  });
}

struct EngineWords {
  TpEngineConfig config;
  MeasurePlan plan;
  std::string compute = "auto";
  std::string device = "auto";
  std::string kv_dtype = "auto";
  int32_t threads = 0;
  std::string json_file;
};

Status run_engine(EngineWords& words) {
  if (words.compute != "auto" && !compute_named(words.compute))
    return invalid("must be auto, float32, bfloat16 or fp8", "--compute");
  if (words.device != "cpu" && words.device != "cuda" && words.device != "auto")
    return invalid("must be cpu, cuda or auto", "--device");
  words.config.device.cuda =
      words.device == "cuda" || (words.device == "auto" && cuda_device_count() > 0);
  words.config.kv_dtype = kv_dtype_named(words.kv_dtype);
  if (!words.config.kv_dtype && words.kv_dtype != "auto")
    return invalid("must be auto, float32, bfloat16 or int8", "--kv-dtype");
  if (words.threads == 0) words.threads = static_cast<int32_t>(std::thread::hardware_concurrency());
  words.config.speculative_tokens = words.plan.drafts;
  words.config.compute =
      compute_named(words.compute)
          .value_or(words.config.device.cuda ? Compute::bfloat16 : Compute::float32);
  words.config.threads_per_rank =
      std::max(1, words.threads / std::max(1, words.config.tensor_parallel));
  const SystemClock clock;
  FATHOM_TRY(const EngineBench bench, bench_engine(words.config, words.plan, words.threads, clock));
  std::cout << bench_engine_table(bench) << std::flush;
  return write_json(words.json_file, bench_engine_json(bench));
}

void add_engine(CLI::App& bench, int& exit_code) {
  auto words = std::make_shared<EngineWords>();
  CLI::App* engine = bench.add_subcommand("engine", "measure one engine on this machine");
  engine->add_option("--model", words->config.model_dir, "folder of a checkpoint")->required();
  engine->add_option("--tensor-parallel", words->config.tensor_parallel, "ranks")
      ->capture_default_str();
  engine->add_option("--threads", words->threads, "computing threads; 0 for one per core")
      ->capture_default_str();
  engine
      ->add_option("--compute", words->compute,
                   "float32, bfloat16, fp8 (FP8 checkpoints only) or auto: bfloat16 on a GPU")
      ->capture_default_str();
  engine->add_option("--device", words->device, "cpu, cuda or auto: cuda where there is a GPU")
      ->capture_default_str();
  engine->add_option("--kv-dtype", words->kv_dtype, "auto, float32, bfloat16 or int8")
      ->capture_default_str();
  engine->add_flag("!--no-huge-pages", words->config.huge_pages,
                   "map weights by the pages the system's cache happens to hold");
  engine->add_option("--kernels", words->config.kernels,
                     "portable, avx2, avx512, amx; default: the widest");
  engine->add_option("--prompt-lengths", words->plan.prompt_tokens, "such as 128,512")
      ->delimiter(',')
      ->capture_default_str();
  engine->add_option("--batches", words->plan.batches, "such as 1,8")
      ->delimiter(',')
      ->capture_default_str();
  engine
      ->add_option("--decode-context", words->plan.decode_context, "tokens before each decoded one")
      ->capture_default_str();
  engine->add_option("--decode-steps", words->plan.decode_steps, "steps of each measurement")
      ->capture_default_str();
  engine->add_option("--chunk", words->plan.chunk, "tokens of a prompt a step")
      ->capture_default_str();
  engine->add_option("--repeats", words->plan.repeats, "the median of so many counts")
      ->capture_default_str();
  engine
      ->add_option("--speculative", words->plan.drafts,
                   "measure decoding with so many guessed tokens too")
      ->check(CLI::Range(0, 3))
      ->capture_default_str();
  engine->add_option("--json", words->json_file, "write the result there");
  engine->callback([words, &exit_code] {
    if (const Status status = run_engine(*words); !status.ok()) {
      std::cerr << "fathom bench engine: " << status.error().text() << "\n";
      exit_code = 1;
    }
  });
}

}  // namespace

void add_bench_commands(CLI::App& app, int& exit_code) {
  CLI::App* bench = app.add_subcommand("bench", "measure a cluster or an engine");
  bench->require_subcommand(1);
  add_serve(*bench, exit_code);
  add_engine(*bench, exit_code);
}

}  // namespace fathom
