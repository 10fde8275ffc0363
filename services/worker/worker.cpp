#include "worker/worker.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "net/drive_service.h"
#include "net/fetch.h"
#include "net/grpc_server.h"
#include "net/http_operations.h"
#include "process/log.h"
#include "worker/ending.h"
#include "worker/engine_choice.h"
#include "worker/expert_workers.h"
#include "worker/follower.h"
#include "worker/leading_worker.h"
#include "worker/loop.h"
#include "worker/step_watch.h"

namespace fathom {
namespace {

// Where peers are told to fetch from: what the settings say, with the bound port where they name
// none.
Result<std::string> fetch_address(const WorkerConfig& config, const GrpcServer& server) {
  const std::string bound = server.address();
  const std::string host = bound.substr(0, bound.rfind(':'));
  if (config.advertise.empty()) {
    if (host == "0.0.0.0" || host == "[::]" || host == "*")
      return invalid("peers can not reach " + bound + "; name the host they can", "advertise");
    return bound;
  }
  const size_t colon = config.advertise.rfind(':');
  const bool has_port =
      colon != std::string::npos && config.advertise.find(']', colon) == std::string::npos;
  return has_port ? config.advertise : config.advertise + ":" + std::to_string(server.port());
}

// The services are open before there is a loop: until then both halves say that the weights are
// loading.
class LeadingWorker final : public Worker, private DriveHandler, private BlockSource {
 public:
  LeadingWorker(const WorkerConfig& config, WorkerParts parts, EngineSource engine,
                const MetricLabels& labels)
      : config_(config),
        make_engine_(std::move(engine)),
        clock_(parts.clock),
        instance_(parts.instance),
        on_progress_(std::move(parts.on_progress)),
        metrics_(parts.metrics, labels),
        step_watch_(stall(), metrics_),
        ending_(std::move(parts.on_end)) {}
  ~LeadingWorker() override {
    stop();
    if (thread_.joinable()) thread_.join();
    if (watching_.joinable()) watching_.join();
    operations_.reset();
    if (server_) server_->stop(Duration{});
  }

  Status open(const Metrics& metrics, BlockFault fault) {
    drive_ = make_drive_service(*this);
    fetch_ = make_fetch_service(*this, fault ? std::move(fault) : chosen_fault(config_));
    FATHOM_TRY(server_, start_grpc_server({.listen = config_.listen,
                                           .services = {&drive_->grpc(), &fetch_->grpc()}}));
    FATHOM_TRY(fetch_address_, fetch_address(config_, *server_));
    if (!config_.operations_listen.empty()) {
      FATHOM_TRY(operations_, serve_operations(config_.operations_listen, metrics,
                                               [this] { return not_ready(); }));
    }
    return {};
  }
  void begin() {
    thread_ = std::thread([this] { live(); });
    watching_ = std::thread([this] { watch_steps(); });
  }

  std::string address() const override { return server_->address(); }
  std::string operations_address() const override {
    return operations_ ? operations_->address() : "";
  }
  WorkerState state() const override {
    if (ending_.ended()) return WorkerState::ended;
    const std::lock_guard lock(mutex_);
    return draining_ ? WorkerState::draining : loop_ ? WorkerState::serving : WorkerState::loading;
  }
  std::string not_ready() const override {
    switch (state()) {
      case WorkerState::loading:
        return "the weights are loading: " + std::to_string(static_cast<int>(loaded_ * 100)) + " %";
      case WorkerState::draining:
        return "the worker is draining";
      case WorkerState::ended:
        return "the worker has ended";
      case WorkerState::serving:
        break;
    }
    const Loop* loop = serving_loop_;
    return loop && loop->running_for() > stall() ? "a step does not return" : "";
  }
  void drain() override { leave(&Loop::drain); }
  void stop() override { leave(&Loop::stop); }
  bool wait(Duration patience) override { return ending_.wait(patience); }
  Status result() const override { return ending_.result(); }

 private:
  // The thread of the worker: load, turn the crank, close.
  void live() {
    Status result = load();
    if (result.ok()) {
      result = loop_->run();
      if (!result.ok()) result = broken(result.error());
    }
    server_->set_serving(false);
    drive_->stop();
    fetch_->stop();
    server_->stop(Duration::seconds(
        2));  // for the last report to leave; a router that does not read is cut off
    ending_.tell(result);
  }

  // A thread of its own: the loop's is in the step.
  void watch_steps() {
    while (!ending_.wait(Duration::seconds(1)))
      if (const Loop* loop = serving_loop_) step_watch_.look(loop->running_for());
  }
  Duration stall() const { return Duration::seconds(config_.stall_seconds); }

  static Error broken(Error why) {
    why.message =
        "the tensor-parallel group is broken, what ran on it is lost here: " + why.message;
    return why;
  }

  Status load() {
    log_info("loading", {{"model", served_name(config_)}, {"role", config_.role}});
    const Instant began = clock_.now();
    FATHOM_TRY(auto engine, make_engine_([this](double fraction) { progress(fraction); }));
    engine_ = std::move(engine);
    const KvLayout& kv = engine_->info().kv;
    fetcher_ = make_fetcher(kv.block_bytes, kv.block_tokens,
                            Duration::seconds(config_.fetch_patience_seconds));
    const LoopConfig settings{.role = role_of(config_),
                              .model = served_name(config_),
                              .fetch_address = fetch_address_,
                              .instance = instance_,
                              .rows_max = config_.rows_max,
                              .step_token_budget = step_tokens_of(config_),
                              .prompt_token_budget = config_.prompt_token_budget,
                              .mixed_step = Duration::seconds(config_.mixed_step_seconds),
                              .prefix_cache = config_.prefix_cache,
                              .ticket_patience = Duration::seconds(config_.ticket_patience_seconds),
                              .stall = stall(),
                              .speculative_tokens = drafts_of(config_)};
    auto loop = std::make_unique<Loop>(*engine_, *fetcher_, clock_, settings, metrics_,
                                       [this](Report report) { drive_->send(std::move(report)); });
    progress(1);
    {
      const std::lock_guard lock(mutex_);
      loop_ = std::move(loop);
      if (draining_) loop_->stop();  // asked to leave before there was anything to finish
    }
    serving_loop_ = loop_.get();
    server_->set_serving(true);
    log_info("serving", {{"address", server_->address()},
                         {"blocks", engine_->info().blocks},
                         {"weight_mb", engine_->info().weight_bytes >> 20},
                         {"weight_mb_in_huge_pages", engine_->info().weight_huge_bytes >> 20},
                         {"seconds", (clock_.now() - began).to_seconds()}});
    return {};
  }

  void progress(double fraction) {
    loaded_ = fraction;
    metrics_.load_progress_ratio.Set(fraction);
    if (on_progress_) on_progress_(fraction);
  }

  void leave(void (Loop::*how)()) {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    if (loop_) (loop_.get()->*how)();
  }

  // DriveHandler and BlockSource, on gRPC's threads.
  static Error loading() { return {Code::unavailable, "the weights are loading", ""}; }
  Result<Welcome> on_hello(const Hello& hello) override {
    Loop* loop = serving_loop_;
    if (!loop) return loading();
    log_info("a router drives this worker", {{"epoch", hello.epoch}});
    return loop->on_hello(hello);
  }
  void on_edits(Edits edits) override {
    if (Loop* loop = serving_loop_) loop->on_edits(std::move(edits));
  }
  void on_router_gone() override {
    log_info("the router is gone");
    if (Loop* loop = serving_loop_) loop->on_router_gone();
  }
  std::shared_ptr<void> watch(const Ticket& ticket, int32_t tokens, Watcher watcher) override {
    if (Loop* loop = serving_loop_) return loop->source().watch(ticket, tokens, std::move(watcher));
    watcher.gone(loading());
    return nullptr;
  }
  bool copy(SeqId seq, int32_t ordinal, std::span<std::byte> out) const override {
    Loop* loop = serving_loop_;
    return loop && loop->source().copy(seq, ordinal, out);
  }
  int64_t block_bytes() const override {
    Loop* loop = serving_loop_;
    return loop ? loop->source().block_bytes() : 0;
  }

  const WorkerConfig config_;
  const EngineSource make_engine_;
  const Clock& clock_;
  const uint64_t instance_;
  const std::function<void(double)> on_progress_;
  WorkerMetrics metrics_;
  StepWatch step_watch_;
  Ending ending_;
  std::string fetch_address_;
  std::atomic<double> loaded_ = 0;

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Fetcher> fetcher_;
  mutable std::mutex mutex_;  // over the two below
  std::unique_ptr<Loop> loop_;
  bool draining_ = false;
  std::atomic<Loop*> serving_loop_ = nullptr;  // loop_, once it is there

  std::unique_ptr<DriveService> drive_;
  std::unique_ptr<FetchService> fetch_;
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<Operations> operations_;
  std::thread thread_, watching_;
};

}  // namespace

Result<std::unique_ptr<Worker>> start_leading_worker(const WorkerConfig& config, WorkerParts parts,
                                                     EngineSource engine,
                                                     const MetricLabels& labels) {
  const Metrics& metrics = parts.metrics;
  BlockFault fault = parts.block_fault;
  auto worker =
      std::make_unique<LeadingWorker>(config, std::move(parts), std::move(engine), labels);
  FATHOM_CHECKED(worker->open(metrics, std::move(fault)));
  worker->begin();
  return std::unique_ptr<Worker>(std::move(worker));
}

Result<std::unique_ptr<Worker>> start_worker(const WorkerConfig& config, WorkerParts parts) {
  FATHOM_CHECKED(check_worker_config(config));
  if (follows(config)) return start_follower(config, std::move(parts));
  if (config.expert_parallel > 1) return start_expert_workers(config, std::move(parts));
  return start_leading_worker(config, std::move(parts), [config](const LoadFraction& progress) {
    return load_engine(config, progress);
  });
}

}  // namespace fathom
