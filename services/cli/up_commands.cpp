#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "cli/up.h"

namespace fathom {
namespace {

struct UpWords {
  UpOptions options;
  bool no_question = false;
  int screen_fd = -1;
};

int run(const UpWords& words) {
  const SystemClock clock;
  if (words.options.detach) return run_up_detached(words.options, *make_terminal_screen());
  const SignalInbox inbox(true);
  if (words.screen_fd < 0) return run_up(words.options, *make_terminal_screen(), inbox, clock);
  UpOptions options = words.options;
  options.detach = true;  // we are what the process in front left behind
  const auto screen = make_pipe_screen(words.screen_fd, options.run_dir + "/up.log");
  return run_up(options, *screen, inbox, clock);
}

void add_up(CLI::App& app, int& exit_code) {
  auto words = std::make_shared<UpWords>();
  UpOptions& o = words->options;
  CLI::App* up = app.add_subcommand("up", "run a whole cluster on this machine");
  up->add_option("--model", o.model,
                 "folder of a checkpoint; default: the one that ships with Fathom");
  up->add_option("--prefill", o.prefill, "workers that only prefill; default 1, or 0 with --both");
  up->add_option("--decode", o.decode, "workers that only decode; default 1, or 0 with --both");
  up->add_option("--both", o.both, "workers that do both")->capture_default_str();
  up->add_option(
      "--tensor-parallel", o.tensor_parallel,
      "shards of each worker; default 2, or 1 on GPUs, under fp8 and where the model can not be "
      "divided");
  up->add_option("--expert-parallel", o.expert_parallel,
                 "ranks of each worker process that divide its experts alone; each is a worker "
                 "with sequences and KV of its own")
      ->capture_default_str();
  up->add_option("--compute", o.compute,
                 "float32, bfloat16, fp8 (FP8 checkpoints only) or auto: bfloat16 on a GPU")
      ->capture_default_str();
  up->add_flag("--speculative", o.speculative,
               "guess ahead with the model's multi-token-prediction module");
  up->add_flag("!--no-prefix-cache", o.prefix_cache,
               "compute every prompt whole, also where it begins like an earlier one");
  up->add_option("--kv-dtype", o.kv_dtype,
                 "how KV is kept: float32, bfloat16, int8 (latent attention) or auto, as --compute")
      ->capture_default_str();
  up->add_option("--device", o.device, "cpu, cuda or auto: cuda where there is a GPU")
      ->capture_default_str();
  up->add_option("--port", o.port, "of the HTTP API")->capture_default_str();
  up->add_option("--host", o.host, "address of the HTTP API; 0.0.0.0 for other machines too")
      ->capture_default_str();
  up->add_option("--keys", o.keys,
                 "file of API keys that clients must show; fathom key new makes them");
  up->add_option("--price-input", o.price_input,
                 "told to clients: a million prompt tokens; 0 tells no price")
      ->capture_default_str();
  up->add_option("--price-cached-input", o.price_cached_input,
                 "a million prompt tokens that a cache held; 0: as --price-input")
      ->capture_default_str();
  up->add_option("--price-output", o.price_output, "a million generated tokens")
      ->capture_default_str();
  up->add_option("--currency", o.currency, "of the prices")->capture_default_str();
  up->add_flag("--detach", o.detach, "return once ready and run on in the background");
  up->add_flag("--no-question", words->no_question, "do not ask a question when ready");
  up->add_option("--run-dir", o.run_dir,
                 "folder for settings and logs; default: fathom-USER-PORT in the temporary folder");
  up->add_option("--ready-timeout", o.ready_seconds, "seconds to wait until everything is ready")
      ->capture_default_str();
  up->add_option("--drain-timeout", o.drain_seconds, "seconds a service may take to end")
      ->capture_default_str();
  up->add_option("--engine", o.engine, "model, or fake: no model, for tests")
      ->capture_default_str()
      ->group("");
  up->add_option("--screen-fd", words->screen_fd)->group("");
  up->callback([words, &exit_code] {
    words->options.question = !words->no_question;
    exit_code = run(*words);
  });
}

struct DownWords {
  int32_t port = 8000;
  std::string run_dir;
  double patience = 120;
};

void add_down(CLI::App& app, int& exit_code) {
  auto words = std::make_shared<DownWords>();
  CLI::App* down = app.add_subcommand("down", "stop a cluster that was started with up --detach");
  down->add_option("--port", words->port, "the one it was started with")->capture_default_str();
  down->add_option("--run-dir", words->run_dir, "the one it was started with");
  down->add_option("--timeout", words->patience, "seconds until it is killed")
      ->capture_default_str();
  down->callback([words, &exit_code] {
    const std::string dir = words->run_dir.empty() ? default_run_dir(words->port) : words->run_dir;
    exit_code = run_down(dir, words->patience, *make_terminal_screen());
  });
}

}  // namespace

void add_up_commands(CLI::App& app, int& exit_code) {
  add_up(app, exit_code);
  add_down(app, exit_code);
}

}  // namespace fathom
