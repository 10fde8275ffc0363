#include "router/router.h"

#include <atomic>
#include <utility>

#include "net/drive_link.h"
#include "net/grpc_server.h"
#include "net/http_operations.h"
#include "net/serve_service.h"
#include "process/log.h"
#include "router/brain.h"

namespace fathom {
namespace {

// What may wait for the brain: 32 M tokens, 128 MB. It reads them in well under a second.
constexpr int64_t kInboxTokensMax = int64_t{32} << 20;

// Turns what gRPC threads hear into news.
class Ears final : public GatewayEvents, public WorkerEvents, public WatcherEvents {
 public:
  Ears(RouterInbox& inbox, RouterMetrics& metrics, Duration retry_after)
      : inbox_(inbox), metrics_(metrics), retry_after_(retry_after) {}
  // Who is told that we are behind. Before anything is heard.
  void connect(ServeService& gateways, DriveLinks& workers) {
    gateways_ = &gateways;
    workers_ = &workers;
  }

  void on_gateway_up(GatewayId gateway, const std::string& name) override {
    inbox_.force(GatewayUp{gateway, name});
  }
  void on_gateway_messages(GatewayId gateway, std::vector<ToRouter> messages) override;
  void on_gateway_down(GatewayId gateway) override { inbox_.force(GatewayDown{gateway}); }
  void on_worker_report(WorkerId worker, const std::string& address, Report report) override;
  void on_worker_down(WorkerId worker, const std::string& address, const Error& why) override {
    inbox_.force(WorkerDown{worker, address, why});
  }
  void on_watcher_up(WatcherId watcher, const WatchFrom& from) override {
    inbox_.force(WatcherUp{watcher, from});
  }
  void on_watcher_down(WatcherId watcher) override { inbox_.force(WatcherDown{watcher}); }

 private:
  RouterInbox& inbox_;
  RouterMetrics& metrics_;
  const Duration retry_after_;
  ServeService* gateways_ = nullptr;
  DriveLinks* workers_ = nullptr;
};

void Ears::on_gateway_messages(GatewayId gateway, std::vector<ToRouter> messages) {
  int64_t weight = 0;
  for (const ToRouter& message : messages) {
    const auto* submit = std::get_if<Submit>(&message);
    weight += 1 + (submit ? static_cast<int64_t>(submit->tokens.size()) : 0);
  }
  News news = GatewayMessages{gateway, std::move(messages)};
  if (inbox_.put(std::move(news), weight)) return;
  metrics_.overflows.Increment();
  std::vector<FromRouter> refusals;
  auto& refused = std::get<GatewayMessages>(news).messages;
  std::erase_if(refused, [&](const ToRouter& message) {
    const auto* submit = std::get_if<Submit>(&message);
    if (submit)
      refusals.push_back(Finished{.id = submit->id,
                                  .error = {Code::resource_exhausted, "the router is behind", {}},
                                  .retry_after = retry_after_});
    return submit != nullptr;
  });
  inbox_.force(std::move(news));  // what is left are cancellations: they make room
  gateways_->send(gateway, std::move(refusals));
}

void Ears::on_worker_report(WorkerId worker, const std::string& address, Report report) {
  int64_t weight = 1;
  for (const Row& row : report.rows) weight += 1 + static_cast<int64_t>(row.tokens.size());
  if (inbox_.put(WorkerReport{worker, address, std::move(report)}, weight)) return;
  // A lost report breaks the account of this worker; a new stream makes a new one.
  metrics_.overflows.Increment();
  workers_->disconnect(worker, {Code::resource_exhausted, "the router is behind", {}});
}

BatcherConfig batcher_config(const RouterConfig& config, uint64_t epoch) {
  return {.queue_max = config.queue_max,
          .queue_tokens_max = config.queue_tokens_max,
          .tenant_queue_max = config.tenant_queue_max,
          .lease_tokens = config.lease_tokens,
          .step_token_budget = config.step_token_budget,
          .recoveries_max = config.recoveries_max,
          .retry_after = Duration::seconds(config.retry_after_seconds),
          .stall = Duration::seconds(config.stall_seconds),
          .epoch = epoch};
}

class Process final : public Router {
 public:
  Process(const RouterConfig& config, RouterParts parts)
      : metrics_(parts.metrics),
        inbox_(kInboxTokensMax),
        ears_(inbox_, metrics_, Duration::seconds(config.retry_after_seconds)),
        gateways_(make_serve_service(ears_)),
        watchers_(make_watch_service(ears_)),
        workers_(make_drive_links(
            {.epoch = parts.epoch, .step_token_budget = config.step_token_budget}, ears_)) {
    ears_.connect(*gateways_, *workers_);
  }
  ~Process() override { stop(); }

  Status start(const RouterConfig& config, RouterParts parts);

  std::string address() const override { return server_->address(); }
  std::string operations_address() const override {
    return operations_ ? operations_->address() : std::string();
  }
  ClusterState cluster() const override { return brain_->cluster(); }
  std::string not_ready() const override;
  void drain() override;
  bool wait_idle(Duration patience) override { return brain_->wait_idle(patience); }
  void stop() override;

 private:
  RouterMetrics metrics_;
  RouterInbox inbox_;
  Ears ears_;
  std::unique_ptr<ServeService> gateways_;
  std::unique_ptr<WatchService> watchers_;
  std::unique_ptr<DriveLinks> workers_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<Brain> brain_;
  std::unique_ptr<Operations> operations_;
  std::atomic<bool> draining_ = false;
  bool stopped_ = false;
};

Status Process::start(const RouterConfig& config, RouterParts parts) {
  FATHOM_TRY(server_, start_grpc_server({.listen = config.listen,
                                         .services = {&gateways_->grpc(), &watchers_->grpc()}}));
  const BrainTimes times{.state_interval = Duration::seconds(config.state_interval_seconds),
                         .watch_interval = Duration::seconds(config.watch_interval_seconds)};
  brain_ = std::make_unique<Brain>(
      batcher_config(config, parts.epoch), times,
      BrainPorts{.clock = parts.clock,
                 .inbox = inbox_,
                 .metrics = metrics_,
                 .gateways = *gateways_,
                 .watchers = *watchers_,
                 .workers = *workers_,
                 .on_ready = [this](bool ready) { server_->set_serving(ready && !draining_); }});
  if (!config.operations_listen.empty()) {
    FATHOM_TRY(operations_, serve_operations(config.operations_listen, parts.metrics,
                                             [this] { return not_ready(); }));
  }
  for (const std::string& worker : config.workers) workers_->add(worker);
  return {};
}

std::string Process::not_ready() const {
  if (draining_) return "draining";
  const ClusterState state = cluster();
  if (state.ready) return {};
  if (state.prefill_workers == 0 && state.decode_workers == 0) return "no worker is connected";
  if (state.prefill_workers == 0) return "no worker that prefills is connected";
  if (state.decode_workers == 0) return "no worker that decodes is connected";
  return "no pair of workers can serve a request";
}

void Process::drain() {
  if (draining_.exchange(true)) return;
  server_->set_serving(false);
  inbox_.force(DrainNow{});
}

void Process::stop() {
  if (std::exchange(stopped_, true)) return;
  operations_.reset();  // asks not_ready(), so it goes first
  workers_->stop();
  gateways_->stop();
  watchers_->stop();
  inbox_.stop();
  if (server_) server_->stop(Duration::seconds(1));
}

Status check(const RouterConfig& config) {
  const auto at_least_1 = [](int32_t value, const char* field) -> Status {
    if (value >= 1) return {};
    return invalid("must be at least 1", field);
  };
  FATHOM_CHECKED(at_least_1(config.queue_max, "queue_max"));
  FATHOM_CHECKED(at_least_1(config.queue_tokens_max, "queue_tokens_max"));
  FATHOM_CHECKED(at_least_1(config.tenant_queue_max, "tenant_queue_max"));
  FATHOM_CHECKED(at_least_1(config.lease_tokens, "lease_tokens"));
  FATHOM_CHECKED(at_least_1(config.step_token_budget, "step_token_budget"));
  if (config.recoveries_max < 0) return invalid("must not be negative", "recoveries_max");
  if (!(config.stall_seconds >= 0 && config.stall_seconds <= 86400))
    return invalid("must be 0 to 86400", "stall_seconds");
  if (!(config.retry_after_seconds >= 0))
    return invalid("must not be negative", "retry_after_seconds");
  if (!(config.state_interval_seconds >= 0))
    return invalid("must not be negative", "state_interval_seconds");
  if (!(config.watch_interval_seconds >= 0.1))
    return invalid("must be at least 0.1", "watch_interval_seconds");
  if (!(config.drain_seconds_max >= 0)) return invalid("must not be negative", "drain_seconds_max");
  if (config.workers.empty()) return invalid("names no worker", "workers");
  for (size_t i = 0; i < config.workers.size(); ++i) {
    if (config.workers[i].find(':') == std::string::npos)
      return invalid("is not host:port: " + config.workers[i],
                     "workers[" + std::to_string(i) + "]");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Router>> start_router(const RouterConfig& config, RouterParts parts) {
  CHECK(parts.epoch != 0, "an epoch of 0 would never take over from another router");
  FATHOM_CHECKED(check(config));
  auto router = std::make_unique<Process>(config, parts);
  FATHOM_CHECKED(router->start(config, parts));
  return std::unique_ptr<Router>(std::move(router));
}

}  // namespace fathom
