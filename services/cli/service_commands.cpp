#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/services.h"

namespace fathom {
namespace {

using RunService = int (*)(const std::string&, const SignalInbox&);

void add_service(CLI::App& app, const std::string& name, const std::string& about, RunService run,
                 int& exit_code) {
  struct Words {
    std::string config;
    pid_t parent = 0;
  };
  auto words = std::make_shared<Words>();
  CLI::App* service = app.add_subcommand(name, about);
  service
      ->add_option("--config", words->config,
                   "settings file, YAML or JSON; `fathom config " + name + "` shows all")
      ->required();
  service->add_option("--parent", words->parent, "end when this process ends")->group("");
  service->callback([words, run, &exit_code] {
    const SignalInbox inbox(false);
    if (words->parent > 0) end_with_parent(words->parent);
    exit_code = run(words->config, inbox);
  });
}

}  // namespace

void add_service_commands(CLI::App& app, int& exit_code) {
  add_service(app, "gateway", "speak HTTP and gRPC to clients", run_gateway_service, exit_code);
  add_service(app, "router", "queue, place and batch the requests of one cell", run_router_service,
              exit_code);
  add_service(app, "worker", "run the steps of one tensor-parallel group", run_worker_service,
              exit_code);
  auto which = std::make_shared<std::string>();
  CLI::App* config = app.add_subcommand("config", "print the default settings of a service");
  config->add_option("service", *which, "gateway, router or worker")
      ->required()
      ->check(CLI::IsMember({"gateway", "router", "worker"}));
  config->callback([which] { std::cout << default_settings(*which); });
}

}  // namespace fathom
