#include "cli/up_plan.h"

#include <algorithm>
#include <filesystem>

#include "cli/config_text.h"
#include "gateway/config.h"
#include "net/ports.h"
#include "router/config.h"
#include "worker/config.h"

namespace fathom {
namespace {

std::string local(uint16_t port) { return "127.0.0.1:" + std::to_string(port); }

// Hands out ports that were free a moment ago.
class Ports {
 public:
  explicit Ports(std::vector<uint16_t> free) : free_(std::move(free)) {}
  uint16_t take() {
    CHECK(!free_.empty(), "fewer ports than services need");
    const uint16_t port = free_.back();
    free_.pop_back();
    return port;
  }

 private:
  std::vector<uint16_t> free_;
};

WorkerConfig worker_config(const UpOptions& options, const std::string& role) {
  WorkerConfig config;
  config.model = options.engine == "model" ? options.model : "";
  config.role = role;
  config.device = options.device;
  config.compute = options.compute;
  config.speculative = options.speculative ? "auto" : "off";
  config.kv_dtype = options.kv_dtype;
  config.engine = options.engine;
  config.tensor_parallel = options.tensor_parallel;
  config.expert_parallel = options.expert_parallel;
  config.prefix_cache = options.prefix_cache;
  return config;
}

// Workers take the GPUs in turn, as many as they have ranks; those that meet on one share its
// memory.
void place_on_gpus(const UpOptions& options, int32_t worker, WorkerConfig& config) {
  if (options.gpus == 0) return;
  constexpr double kUsable = 0.92;
  const int32_t workers = options.prefill + options.decode + options.both;
  const int32_t ranks = options.tensor_parallel * options.expert_parallel;
  const int32_t places = std::max(1, options.gpus / ranks);
  config.gpu = worker % places * ranks;
  const int32_t on_one_gpu = (workers + places - 1) / places;
  config.gpu_memory_share = kUsable / on_one_gpu;
}

// The workers of one role; adds the addresses of their ranks to the router's list.
void add_workers(const UpOptions& options, const std::string& role, int32_t count, Ports& ports,
                 RouterConfig& router, UpPlan& plan) {
  for (int32_t i = 0; i < count; ++i) {
    WorkerConfig config = worker_config(options, role);
    place_on_gpus(options, static_cast<int32_t>(plan.services.size()), config);
    const uint16_t operations = ports.take();
    config.listen = local(ports.take());
    config.operations_listen = local(operations);
    router.workers.push_back(config.listen);
    for (int32_t rank = 1; rank < options.expert_parallel; ++rank) {
      config.rank_listen.push_back(local(ports.take()));
      router.workers.push_back(config.rank_listen.back());
    }
    plan.services.push_back({.name = role + "-" + std::to_string(i),
                             .kind = ServiceKind::worker,
                             .config = config_text(config),
                             .http_port = operations});
  }
}

}  // namespace

Result<UpPlan> plan_up(const UpOptions& options) {
  const int32_t workers = options.prefill + options.decode + options.both;
  FATHOM_TRY(auto free, free_ports(workers * (1 + options.expert_parallel) + 3));
  Ports ports(std::move(free));
  UpPlan plan{.url = "http://127.0.0.1:" + std::to_string(options.port),
              .port = static_cast<uint16_t>(options.port),
              .services = {}};
  RouterConfig router;
  add_workers(options, "prefill", options.prefill, ports, router, plan);
  add_workers(options, "decode", options.decode, ports, router, plan);
  add_workers(options, "both", options.both, ports, router, plan);

  const uint16_t operations = ports.take();
  router.listen = local(ports.take());
  router.operations_listen = local(operations);
  plan.services.push_back({"router", ServiceKind::router, config_text(router), operations});

  GatewayConfig gateway;
  gateway.listen = options.host + ":" + std::to_string(options.port);
  gateway.grpc_listen = local(ports.take());
  gateway.router = router.listen;
  gateway.checkpoint = options.engine == "model" ? options.model : "";
  // The name a worker gives itself: known here already, so metrics carry it from the first moment.
  gateway.model =
      options.engine == "model" ? std::filesystem::path(options.model).filename().string() : "";
  gateway.drain_seconds_max = options.drain_seconds;
  gateway.keys_file = options.keys;
  gateway.price_input_per_million = options.price_input;
  gateway.price_cached_input_per_million = options.price_cached_input;
  gateway.price_output_per_million = options.price_output;
  gateway.currency = options.currency;
  plan.grpc = gateway.grpc_listen;
  plan.services.push_back({"gateway", ServiceKind::gateway, config_text(gateway), plan.port});
  return plan;
}

std::string kind_text(ServiceKind kind) {
  switch (kind) {
    case ServiceKind::worker:
      return "worker";
    case ServiceKind::router:
      return "router";
    case ServiceKind::gateway:
      return "gateway";
  }
  return {};
}

}  // namespace fathom
