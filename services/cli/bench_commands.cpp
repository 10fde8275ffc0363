#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <memory>

#include <unistd.h>

#include "cli/bench_serve.h"
#include "cli/commands.h"

namespace fathom {
namespace {

struct ServeWords {
  BenchServeOptions options;
  std::string prompt = "128";
  std::string output = "128";
  std::string json_file;
};

Status run_serve(ServeWords& words) {
  FATHOM_TRY(words.options.prompt, parse_length(words.prompt, "--prompt-tokens"));
  FATHOM_TRY(words.options.output, parse_length(words.output, "--output-tokens"));
  words.options.progress = ::isatty(2) == 1;
  const SystemClock clock;
  FATHOM_TRY(const BenchReport report, bench_serve(words.options, clock));
  std::cout << report_table(report) << std::flush;
  if (!words.json_file.empty() && !(std::ofstream(words.json_file) << report_json(report)))
    return Error{Code::permission_denied, "can not be written", words.json_file};
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

}  // namespace

void add_bench_commands(CLI::App& app, int& exit_code) {
  CLI::App* bench = app.add_subcommand("bench", "measure a cluster or an engine");
  bench->require_subcommand(1);
  add_serve(*bench, exit_code);
}

}  // namespace fathom
