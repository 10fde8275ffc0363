#include "cli/up.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <optional>

#include "cli/probe.h"
#include "cli/question.h"
#include "cli/run_dir.h"
#include "cli/supervisor.h"
#include "cli/up_plan.h"

namespace fathom {
namespace {

constexpr Duration kLook = Duration::ms(100);  // between two looks at services that are starting
constexpr int kTailLines = 12;
constexpr int32_t kAnswerTokens = 200;
constexpr const char* kQuestion = "What is 17 times 23?";
constexpr const char* kLoadMetric = "fathom_worker_load_progress_ratio";

// Why a wait ended before its end.
enum class Outcome { done, failed, interrupted };

std::vector<ProgramStart> programs_of(const UpPlan& plan, const RunDir& dir) {
  std::vector<ProgramStart> programs;
  for (const auto& service : plan.services)
    programs.push_back(
        {.name = service.name,
         .executable = own_executable(),
         .arguments = {kind_text(service.kind), "--config", dir.file(service.name + ".yaml"),
                       "--parent", std::to_string(::getpid())},
         .log_path = dir.file(service.name + ".log")});
  return programs;
}

bool speaks(const std::string& model) {
  std::error_code ignored;
  return std::filesystem::exists(std::filesystem::path(model) / "tokenizer.json", ignored);
}

class Cluster {
 public:
  Cluster(const UpOptions& options, UpPlan plan, RunDir dir, Screen& screen,
          const SignalInbox& inbox, const Clock& clock)
      : options_(options),
        plan_(std::move(plan)),
        dir_(std::move(dir)),
        screen_(screen),
        inbox_(inbox),
        clock_(clock),
        supervisor_(programs_of(plan_, dir_)),
        gateway_{.host = "127.0.0.1", .port = std::to_string(plan_.port), .prefix = {}} {}

  int run() {
    if (const Status started = start(); !started.ok()) {
      screen_.error("fathom up: " + started.error().text());
      return 1;
    }
    const Outcome outcome = wait_ready();
    if (outcome == Outcome::failed) {
      supervisor_.kill_all();
      return 1;
    }
    if (outcome == Outcome::interrupted) return stop();
    if (options_.question) ask();
    show_urls();
    screen_.ready();
    serve();
    return stop();
  }

 private:
  Status start() {
    for (const auto& service : plan_.services)
      FATHOM_CHECKED(dir_.write(service.name + ".yaml", service.config));
    screen_.line("starting " + std::to_string(plan_.services.size()) + " processes, logs in " +
                 dir_.file(""));
    return supervisor_.start_all(clock_.now());
  }

  Outcome wait_ready() {
    const Instant patience = clock_.now() + Duration::seconds(options_.ready_seconds);
    for (;;) {
      const auto signal = inbox_.wait(kLook);
      if ((signal && *signal != SIGCHLD) || !screen_.watched()) return Outcome::interrupted;
      if (const auto deaths = supervisor_.reap(clock_.now()); !deaths.empty()) {
        report_early_death(deaths.front());
        return Outcome::failed;
      }
      std::string waiting = not_ready(plan_.port);
      if (waiting.empty()) return Outcome::done;
      if (const auto loading = loading_text(); !loading.empty()) waiting = loading;
      if (clock_.now() > patience) {
        screen_.error("fathom up: not ready after " +
                      std::to_string(std::lround(options_.ready_seconds)) +
                      " s (--ready-timeout): " + waiting + "\n" + tails());
        return Outcome::failed;
      }
      screen_.progress(waiting);
    }
  }

  // "loading weights: prefill-0 40 %, decode-0 35 %"; empty once all are loaded.
  std::string loading_text() const {
    std::string text;
    bool all = true;
    for (const auto& service : plan_.services) {
      if (service.kind != ServiceKind::worker) continue;
      const double share = read_metric(service.http_port, kLoadMetric).value_or(0);
      all = all && share >= 1;
      text += (text.empty() ? "loading weights: " : ", ") + service.name + " " +
              std::to_string(static_cast<int>(share * 100)) + " %";
    }
    return all ? std::string() : text;
  }

  void report_early_death(const Death& death) {
    const auto& program = supervisor_.program(death.index);
    screen_.error("fathom up: " + program.name + " " + death.end.text() +
                  " before the cluster was ready; the end of " + program.log_path + ":\n" +
                  log_tail(program.log_path, kTailLines));
  }

  std::string tails() const {
    std::string text;
    for (size_t i = 0; i < supervisor_.size(); ++i) {
      const auto& program = supervisor_.program(i);
      text += program.name + " (" + program.log_path + "):\n" + log_tail(program.log_path, 3);
    }
    return text;
  }

  void ask() {
    if (options_.engine == "model" && !speaks(options_.model)) {
      screen_.line("no question: " + options_.model +
                   " has no tokenizer.json; send token ids to /v1/completions");
      return;
    }
    if (!options_.keys.empty()) {
      screen_.line("no question: it takes a key of " + options_.keys);
      return;
    }
    const auto model = served_model(gateway_, "");
    if (!model.ok()) {
      screen_.line("the gateway names no model: " + model.error().text());
      return;
    }
    screen_.line(std::string("question: ") + kQuestion);
    const auto end =
        ask_question(gateway_, {.model = *model, .text = kQuestion, .tokens_max = kAnswerTokens},
                     [this](const std::string& piece) { screen_.piece(piece); });
    if (end.ok()) {
      screen_.line("\n(" + std::to_string(end->tokens) + " tokens, " + end->finish_reason + ")");
    } else {
      screen_.line("no answer: " + end.error().message);
    }
  }

  void show_urls() {
    screen_.line("chat     " + plan_.url);
    screen_.line("cluster  " + plan_.url + "/cluster");
    screen_.line("API      " + plan_.url + "/v1");
    screen_.line("gRPC     " + plan_.grpc);
    for (const auto& service : plan_.services) {
      std::string name = service.name;
      name.resize(std::max<size_t>(name.size(), 10), ' ');
      screen_.line("metrics  " + name + " http://127.0.0.1:" + std::to_string(service.http_port) +
                   "/metrics");
    }
    const std::string key = options_.keys.empty() ? "" : "-H 'Authorization: Bearer KEY' ";
    screen_.line("try      curl " + key + plan_.url + "/v1/models");
    screen_.line("ready; " + (options_.detach
                                  ? "stop it with: fathom down --port " + std::to_string(plan_.port)
                                  : std::string("Ctrl-C stops it")));
  }

  // Until a signal to stop; a service that dies is started again.
  void serve() {
    for (;;) {
      const auto signal = inbox_.wait(Duration::ms(500));
      if (signal && *signal != SIGCHLD) return;
      for (const auto& death : supervisor_.reap(clock_.now())) {
        const auto& program = supervisor_.program(death.index);
        screen_.line(program.name + " " + death.end.text() + "; starting it again in " +
                     std::to_string(std::lround(death.pause.to_seconds())) + " s (" +
                     program.log_path + ")");
      }
      for (const auto& name : supervisor_.restart_due(clock_.now()))
        screen_.line(name + " started again");
    }
  }

  // Gateway, router, workers: each kind drains before the next is asked. 130 when a second signal
  // cut it short.
  int stop() {
    supervisor_.stopping();
    screen_.line("stopping: letting running requests end (a second Ctrl-C kills)");
    for (const auto kind : {ServiceKind::gateway, ServiceKind::router, ServiceKind::worker}) {
      for (size_t i = 0; i < plan_.services.size(); ++i)
        if (plan_.services[i].kind == kind) supervisor_.signal(i, SIGTERM);
      if (!wait_gone(kind)) {
        supervisor_.kill_all();
        return 130;
      }
    }
    screen_.line("stopped");
    return 0;
  }

  // False when a second signal came.
  bool wait_gone(ServiceKind kind) {
    const Instant patience = clock_.now() + Duration::seconds(options_.drain_seconds);
    bool killed = false;
    for (;;) {
      supervisor_.reap(clock_.now());
      std::string left;
      for (size_t i = 0; i < plan_.services.size(); ++i)
        if (plan_.services[i].kind == kind && supervisor_.running(i))
          left += " " + plan_.services[i].name;
      if (left.empty()) return true;
      if (!killed && clock_.now() > patience) {
        screen_.line("killing" + left + ": not drained in time");
        for (size_t i = 0; i < plan_.services.size(); ++i)
          if (plan_.services[i].kind == kind) supervisor_.signal(i, SIGKILL);
        killed = true;
      }
      const auto signal = inbox_.wait(Duration::ms(200));
      if (signal && *signal != SIGCHLD) return false;
    }
  }

  const UpOptions& options_;
  const UpPlan plan_;
  RunDir dir_;
  Screen& screen_;
  const SignalInbox& inbox_;
  const Clock& clock_;
  Supervisor supervisor_;
  const HttpAddress gateway_;
};

}  // namespace

int run_up(const UpOptions& asked, Screen& screen, const SignalInbox& inbox, const Clock& clock) {
  const auto refuse = [&](const Error& error) {
    screen.error("fathom up: " + error.field + ": " + error.message);
    return 1;
  };
  const auto options = settle_up_options(asked);
  if (!options.ok()) return refuse(options.error());
  auto dir = RunDir::take(options->run_dir);
  if (!dir.ok()) return refuse(dir.error());
  auto plan = plan_up(*options);
  if (!plan.ok()) return refuse(plan.error());
  return Cluster(*options, std::move(plan).value(), std::move(dir).value(), screen, inbox, clock)
      .run();
}

int run_up_detached(const UpOptions& asked, Screen& screen) {
  const auto options = settle_up_options(asked);
  if (!options.ok()) {
    screen.error("fathom up: " + options.error().field + ": " + options.error().message);
    return 1;
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    screen.error("fathom up: no pipe");
    return 1;
  }
  std::vector<std::string> arguments = up_arguments(*options);
  arguments.insert(arguments.end(), {"--screen-fd", std::to_string(ends[1])});
  const auto process = Process::start({.name = "fathom up",
                                       .executable = own_executable(),
                                       .arguments = arguments,
                                       .log_path = "/dev/null",
                                       .new_session = true,
                                       .pass_fd = ends[1]});
  ::close(ends[1]);
  if (!process.ok()) {
    screen.error("fathom up: " + process.error().text());
    return 1;
  }
  return relay_screen(ends[0], screen) ? 0 : 1;
}

}  // namespace fathom
