#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include <unistd.h>

#include "cli/commands.h"
#include "cli/eval.h"
#include "cli/signals.h"

namespace fathom {
namespace {

struct EvalWords {
  EvalOptions options;
  bool stream = false;
  bool whole = false;
  uint64_t seed = 0;
};

void add_what(CLI::App& eval, EvalOptions& o) {
  eval.add_option("--questions", o.questions_file,
                  "JSON lines: task, messages, tools, check; default: those in the program");
  eval.add_option("--task", o.tasks, "ask only these tasks or topics");
  eval.add_option("--per-task", o.per_task, "ask only the first so many of each task; 0: all")
      ->capture_default_str();
  eval.add_option("--answers", o.answers_file, "write every answer there, as JSON lines");
  eval.add_option("--against", o.against_file, "compare with answers that --answers wrote");
  eval.add_flag("--same-text", o.same_text,
                "demand that every text is the same as in --against; exit code 1 otherwise");
  eval.add_option("--at-least", o.at_least,
                  "demand so many percent of all, or of a task or topic: 95, recall=95");
  eval.add_option("--show", o.show, "print so many wrong answers and differences")
      ->capture_default_str();
  eval.add_flag("--json", o.json, "print one JSON object instead of the table");
}

void add_how(CLI::App& eval, const std::shared_ptr<EvalWords>& words) {
  EvalSettings& s = words->options.settings;
  eval.add_option("--url", s.url, "where the gateway listens, with or without /v1")
      ->capture_default_str();
  eval.add_option("--model", s.model, "default: the first of /v1/models");
  auto* key = eval.add_option("--key", s.key, "API key; others on this machine can see it");
  eval.add_option("--key-file", words->options.key_file, "file whose first line is the API key")
      ->excludes(key);
  eval.add_option("--concurrency", s.concurrency, "questions asked at once")->capture_default_str();
  eval.add_option("--max-tokens", s.max_tokens, "of each answer, with its thought")
      ->capture_default_str();
  eval.add_option("--temperature", s.temperature, "0 is greedy")->capture_default_str();
  eval.add_option("--seed", words->seed, "of each answer, for temperatures above 0")
      ->check(CLI::NonNegativeNumber);  // else -1 would be 2^64 - 1
  eval.add_option("--patience", s.patience_seconds, "seconds to wait for one answer")
      ->capture_default_str();
  eval.add_option("--retries", s.retries, "ask a question again after 429, so many times")
      ->capture_default_str();
  auto* stream = eval.add_flag("--stream", words->stream, "ask for streams (the default)");
  eval.add_flag("--whole", words->whole, "ask for answers in one piece")->excludes(stream);
}

int run(EvalWords& words, bool seeded) {
  words.options.settings.stream = !words.whole;
  if (seeded) words.options.settings.seed = words.seed;
  const SignalInbox inbox(false);
  const SystemClock clock;
  return run_eval(words.options,
                  {.out = std::cout, .error = std::cerr, .terminal = ::isatty(2) == 1}, clock,
                  [&inbox] { return inbox.wait(Duration{0}).has_value(); });
}

}  // namespace

void add_eval_command(CLI::App& app, int& exit_code) {
  auto words = std::make_shared<EvalWords>();
  CLI::App* eval = app.add_subcommand(
      "eval", "ask held-out questions of a running server and count the right answers");
  add_what(*eval, words->options);
  add_how(*eval, words);
  eval->callback([words, eval, &exit_code] {
    exit_code = run(*words, eval->get_option("--seed")->count() > 0);
  });
}

}  // namespace fathom
