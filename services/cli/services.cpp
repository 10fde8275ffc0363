#include "cli/services.h"

#include <chrono>
#include <iostream>
#include <memory>
#include <random>

#include "cli/config_text.h"
#include "cli/service_life.h"
#include "gateway/config.h"
#include "gateway/gateway.h"
#include "net/router_link.h"
#include "net/watch_link.h"
#include "process/log.h"
#include "process/metrics.h"
#include "router/config.h"
#include "router/router.h"
#include "worker/config.h"
#include "worker/worker.h"

namespace fathom {
namespace {

uint64_t random_word() {
  std::random_device source;
  return (uint64_t{source()} << 32) | source();
}

// Of the process's start: a router that starts later is obeyed before one that started earlier.
uint64_t unix_nanoseconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

// Reads the settings and runs `body(config)`, or says what is wrong with them.
template <class Config, class Body>
int with_config(const std::string& service, const std::string& file, Body body) {
  log_start(service, LogLevel::info);
  const auto config = config_from_file<Config>(file);
  if (config.ok()) return body(*config);
  std::cerr << "fathom " << service << ": " << config.error().text() << std::endl;
  return 1;
}

}  // namespace

int run_gateway_service(const std::string& config_file, const SignalInbox& inbox) {
  return with_config<GatewayConfig>("gateway", config_file, [&](const GatewayConfig& config) {
    SystemClock clock;
    Metrics metrics;
    std::unique_ptr<Gateway> gateway;
    const ServiceCalls calls{
        .start = [&](const auto&) -> Status {
          FATHOM_TRY(gateway, start_gateway(config, {.clock = clock,
                                                     .metrics = metrics,
                                                     .connect =
                                                         [&config](RouterEvents& events) {
                                                           return connect_router(
                                                               config.router, config.name, events);
                                                         },
                                                     .watch =
                                                         [&config](WatchEvents& events) {
                                                           return connect_watch(config.router,
                                                                                events);
                                                         },
                                                     .seed = random_word()}));
          log_info("listening", {{"http", gateway->address()}, {"grpc", gateway->grpc_address()}});
          return {};
        },
        .drain = [&] { gateway->drain(); },
        .wait = [&](Duration patience) { return gateway->wait_idle(patience); },
        .stop = [&]() -> Status {
          gateway->stop();
          return {};
        },
        .drain_max = Duration::seconds(config.drain_seconds_max)};
    return run_service("gateway", calls, inbox, clock);
  });
}

int run_router_service(const std::string& config_file, const SignalInbox& inbox) {
  return with_config<RouterConfig>("router", config_file, [&](const RouterConfig& config) {
    const SystemClock clock;
    Metrics metrics;
    std::unique_ptr<Router> router;
    const ServiceCalls calls{
        .start = [&](const auto&) -> Status {
          FATHOM_TRY(router, start_router(config, {.clock = clock,
                                                   .metrics = metrics,
                                                   .epoch = unix_nanoseconds()}));
          log_info("listening",
                   {{"grpc", router->address()}, {"operations", router->operations_address()}});
          return {};
        },
        .drain = [&] { router->drain(); },
        .wait = [&](Duration patience) { return router->wait_idle(patience); },
        .stop = [&]() -> Status {
          router->stop();
          return {};
        },
        .drain_max = Duration::seconds(config.drain_seconds_max)};
    return run_service("router", calls, inbox, clock);
  });
}

int run_worker_service(const std::string& config_file, const SignalInbox& inbox) {
  return with_config<WorkerConfig>("worker", config_file, [&](const WorkerConfig& config) {
    const SystemClock clock;
    Metrics metrics;
    std::unique_ptr<Worker> worker;
    const ServiceCalls calls{
        .start = [&](std::function<void()> on_end) -> Status {
          FATHOM_TRY(worker, start_worker(config, {.clock = clock,
                                                   .metrics = metrics,
                                                   .instance = random_word(),
                                                   .on_progress = {},
                                                   .on_end = std::move(on_end)}));
          log_info("listening",
                   {{"grpc", worker->address()}, {"operations", worker->operations_address()}});
          return {};
        },
        .drain = [&] { worker->drain(); },
        .wait = [&](Duration patience) { return worker->wait(patience); },
        .stop =
            [&] {
              worker->stop();
              worker->wait(Duration::seconds(10));
              return worker->result();
            }};
    return run_service("worker", calls, inbox, clock);
  });
}

std::string default_settings(const std::string& service) {
  if (service == "gateway") return config_text(GatewayConfig{}, true);
  if (service == "router") return config_text(RouterConfig{}, true);
  return config_text(WorkerConfig{}, true);
}

}  // namespace fathom
