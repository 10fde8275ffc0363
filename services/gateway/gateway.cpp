#include "gateway/gateway.h"

#include <filesystem>

#include "gateway/cluster_watch.h"
#include "gateway/front.h"
#include "gateway/inference.h"
#include "gateway/keys_watch.h"
#include "gateway/metrics.h"
#include "gateway/served.h"
#include "process/log.h"

namespace fathom {
namespace {

class RunningGateway final : public Gateway {
 public:
  RunningGateway(const GatewayConfig& config, GatewayParts parts, ServedModel model,
                 std::unique_ptr<Admission> admission)
      : admission_(std::move(admission)),
        threads_(make_http_threads(config.threads)),
        metrics_(parts.metrics, metric_label(config)),
        dispatch_({.pending_max = config.pending_max,
                   .router_patience = Duration::seconds(config.router_patience_seconds)},
                  *threads_, parts.clock, metrics_),
        served_(config, std::move(model), *threads_, parts.clock, metrics_, dispatch_, *admission_,
                parts.seed),
        cluster_({.keep_alive = Duration::seconds(config.keep_alive_seconds)}, *threads_,
                 parts.clock),
        front_(served_, cluster_, parts.metrics,
               [this] { return server_ ? server_->connections() : 0; }) {
    if (admission_->asks_for_keys()) watch_.emplace(*admission_);
  }
  ~RunningGateway() override { stop(); }

  Status listen(const GatewayConfig& config, const GatewayParts& parts) {
    link_ = parts.connect(dispatch_);
    if (!link_) return invalid("no link to the router", "router");
    dispatch_.set_link(link_.get());
    watch_link_ = parts.watch(cluster_);
    if (!watch_link_) return invalid("no way to watch the router", "router");
    cluster_.set_link(watch_link_.get());
    const HttpServerConfig http{
        .listen = config.listen, .limits = config.http, .id_seed = parts.seed};
    FATHOM_TRY(server_, start_http_server(http, *threads_, front_));
    if (config.grpc_listen.empty()) return {};
    FATHOM_TRY(inference_, serve_inference(config.grpc_listen, served_, *threads_));
    return {};
  }

  std::string address() const override { return server_->address(); }
  std::string grpc_address() const override {
    return inference_ ? inference_->address() : std::string();
  }
  std::string not_ready() const override { return served_.not_ready(); }

  void drain() override {
    log_info("gateway draining", {{"pending", dispatch_.pending()}});
    served_.drain();
    cluster_.drain();
    server_->drain();
    if (inference_) inference_->drain();
  }
  bool wait_idle(Duration patience) override { return served_.wait_idle(patience); }

  void stop() override {
    if (stopped_) return;
    stopped_ = true;
    if (inference_) inference_->stop();
    if (server_) server_->stop();
    dispatch_.set_link(nullptr);
    cluster_.set_link(nullptr);
    // Loops first: nothing on them may be about to use the link.
    threads_->stop();
    link_.reset();
    watch_link_.reset();
  }

 private:
  static std::string metric_label(const GatewayConfig& config) {
    if (!config.model.empty()) return config.model;
    return std::filesystem::path(config.checkpoint).filename().string();
  }

  std::unique_ptr<Admission> admission_;
  std::unique_ptr<HttpThreads> threads_;
  GatewayMetrics metrics_;
  Dispatch dispatch_;
  Served served_;
  ClusterWatch cluster_;
  Front front_;
  std::unique_ptr<RouterLink> link_;
  std::unique_ptr<WatchLink> watch_link_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<InferenceFront> inference_;
  bool stopped_ = false;
  std::optional<KeysWatch> watch_;
};

Status check(const GatewayConfig& c) {
  const auto positive = [](auto value, const char* key) -> Status {
    return value > 0 ? Status() : Status(invalid("must be greater than 0", key));
  };
  FATHOM_CHECKED(positive(c.threads, "threads"));
  FATHOM_CHECKED(positive(c.max_tokens_default, "max_tokens_default"));
  FATHOM_CHECKED(positive(c.max_tokens_max, "max_tokens_max"));
  FATHOM_CHECKED(positive(c.n_max, "n_max"));
  FATHOM_CHECKED(positive(c.prompts_max, "prompts_max"));
  FATHOM_CHECKED(positive(c.pending_max, "pending_max"));
  FATHOM_CHECKED(positive(c.keep_alive_seconds, "keep_alive_seconds"));
  FATHOM_CHECKED(positive(c.stream_commit_seconds, "stream_commit_seconds"));
  FATHOM_CHECKED(positive(c.whole_commit_seconds, "whole_commit_seconds"));
  FATHOM_CHECKED(positive(c.request_seconds_max, "request_seconds_max"));
  FATHOM_CHECKED(positive(c.start_seconds_max, "start_seconds_max"));
  FATHOM_CHECKED(positive(c.http.body_bytes_max, "http.body_bytes_max"));
  FATHOM_CHECKED(positive(c.http.header_bytes_max, "http.header_bytes_max"));
  FATHOM_CHECKED(positive(c.http.connections_max, "http.connections_max"));
  if (c.temperature_default < 0 || c.temperature_default > 2)
    return invalid("must be from 0 to 2", "temperature_default");
  if (c.top_p_default <= 0 || c.top_p_default > 1)
    return invalid("must be in (0, 1]", "top_p_default");
  return {};
}

}  // namespace

Result<std::unique_ptr<Gateway>> start_gateway(const GatewayConfig& config,
                                               const GatewayParts& parts) {
  FATHOM_CHECKED(check(config));
  FATHOM_TRY(ServedModel model, ServedModel::load(config.checkpoint, config.eos_token_ids));
  FATHOM_TRY(auto admission, Admission::open(config.keys_file, parts.clock, parts.metrics));
  auto gateway =
      std::make_unique<RunningGateway>(config, parts, std::move(model), std::move(admission));
  if (const Status listening = gateway->listen(config, parts); !listening.ok())
    return listening.error();
  log_info("gateway listens", {{"http", gateway->address()}, {"grpc", gateway->grpc_address()}});
  return std::unique_ptr<Gateway>(std::move(gateway));
}

}  // namespace fathom
