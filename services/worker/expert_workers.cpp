#include "worker/expert_workers.h"

#include <charconv>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "net/http_operations.h"
#include "worker/ending.h"
#include "worker/leading_worker.h"

namespace fathom {
namespace {

// Where rank `rank` listens: as listed, or so many ports after the first; port 0 stays 0.
Result<std::string> listen_of(const WorkerConfig& config, int32_t rank) {
  if (rank == 0) return config.listen;
  if (!config.rank_listen.empty()) return config.rank_listen[static_cast<size_t>(rank) - 1];
  const size_t colon = config.listen.rfind(':');
  int32_t port = 0;
  const char* end = config.listen.data() + config.listen.size();
  if (colon == std::string::npos) return invalid("must be host:port", "listen");
  const auto parsed = std::from_chars(config.listen.data() + colon + 1, end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end) return invalid("must be host:port", "listen");
  if (port == 0) return config.listen;
  if (port + rank > 65535)
    return invalid("leaves no port for rank " + std::to_string(rank) + " after it", "listen");
  return config.listen.substr(0, colon + 1) + std::to_string(port + rank);
}

// The ranks' engines are made at once, once all ports are open, on the thread of the first that
// asks; the others wait for theirs and hear how far it is.
class SharedLoad {
 public:
  explicit SharedLoad(WorkerConfig config)
      : config_(std::move(config)), listeners_(static_cast<size_t>(config_.expert_parallel)) {}

  // Lets the ranks go on: to load, or not at all.
  void open(Status status) {
    const std::lock_guard lock(mutex_);
    open_ = true;
    status_ = std::move(status);
    changed_.notify_all();
  }

  Result<std::unique_ptr<Engine>> take(int32_t rank, const LoadFraction& progress) {
    std::unique_lock lock(mutex_);
    listeners_[static_cast<size_t>(rank)] = progress;
    changed_.wait(lock, [this] { return open_; });
    if (!status_.ok()) return status_.error();
    if (!std::exchange(begun_, true)) {
      lock.unlock();
      auto engines = load_expert_engines(config_, [this](double share) { tell(share); });
      lock.lock();
      if (engines.ok())
        engines_ = std::move(engines).value();
      else
        status_ = engines.error();
      loaded_ = true;
      changed_.notify_all();
    }
    changed_.wait(lock, [this] { return loaded_; });
    listeners_[static_cast<size_t>(rank)] = {};
    if (!status_.ok()) return status_.error();
    return std::move(engines_[static_cast<size_t>(rank)]);
  }

 private:
  void tell(double share) {
    const std::lock_guard lock(mutex_);
    for (const LoadFraction& listener : listeners_)
      if (listener) listener(share);
  }

  const WorkerConfig config_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<LoadFraction> listeners_;
  bool open_ = false, begun_ = false, loaded_ = false;
  Status status_;
  std::vector<std::unique_ptr<Engine>> engines_;
};

class ExpertWorkers final : public Worker {
 public:
  explicit ExpertWorkers(std::function<void()> on_end) : ending_(std::move(on_end)) {}
  ~ExpertWorkers() override {
    operations_.reset();
    stop();
    const std::lock_guard lock(mutex_);
    complete_ = false;  // ranks that end now are not looked at
  }

  Status open(const WorkerConfig& config, const WorkerParts& parts) {
    const auto load = std::make_shared<SharedLoad>(config);
    Status opened = open_ports(config, parts, load);
    load->open(opened);
    if (!opened.ok()) return opened;
    {
      const std::lock_guard lock(mutex_);
      complete_ = true;
    }
    look();  // one may have ended already
    return {};
  }

  std::string address() const override {
    std::string all;
    for (const auto& rank : ranks_) all += (all.empty() ? "" : ",") + rank->address();
    return all;
  }
  std::string operations_address() const override {
    return operations_ ? operations_->address() : "";
  }
  // The state of the least ready.
  WorkerState state() const override {
    if (ending_.ended()) return WorkerState::ended;
    bool draining = false;
    for (const auto& rank : ranks_) {
      if (rank->state() == WorkerState::loading) return WorkerState::loading;
      draining |= rank->state() != WorkerState::serving;
    }
    return draining ? WorkerState::draining : WorkerState::serving;
  }
  std::string not_ready() const override {
    for (const auto& rank : ranks_)
      if (std::string why = rank->not_ready(); !why.empty()) return why;
    return {};
  }
  void drain() override {
    for (const auto& rank : ranks_) rank->drain();
  }
  void stop() override {
    for (const auto& rank : ranks_) rank->stop();
  }
  bool wait(Duration patience) override { return ending_.wait(patience); }
  Status result() const override { return ending_.result(); }

 private:
  Status open_ports(const WorkerConfig& config, const WorkerParts& parts,
                    const std::shared_ptr<SharedLoad>& load) {
    for (int32_t rank = 0; rank < config.expert_parallel; ++rank) {
      WorkerConfig own = config;
      FATHOM_TRY(own.listen, listen_of(config, rank));
      own.operations_listen.clear();
      WorkerParts own_parts{.clock = parts.clock,
                            .metrics = parts.metrics,
                            .instance = parts.instance + static_cast<uint64_t>(rank),
                            .on_progress = rank == 0 ? parts.on_progress : nullptr,
                            .block_fault = parts.block_fault,
                            .on_end = [this] { look(); }};
      FATHOM_TRY(auto worker, start_leading_worker(own, std::move(own_parts),
                                                   [load, rank](const LoadFraction& told) {
                                                     return load->take(rank, told);
                                                   },
                                                   {{"rank", std::to_string(rank)}}));
      ranks_.push_back(std::move(worker));
    }
    if (config.operations_listen.empty()) return {};
    FATHOM_TRY(operations_, serve_operations(config.operations_listen, parts.metrics,
                                             [this] { return not_ready(); }));
    return {};
  }

  // When a rank ends: on its thread. One that broke takes all others with it.
  void look() {
    const std::lock_guard lock(mutex_);
    if (!complete_) return;
    Status broken;
    size_t ended = 0;
    for (const auto& rank : ranks_) {
      if (rank->state() != WorkerState::ended) continue;
      ++ended;
      if (broken.ok()) broken = rank->result();
    }
    if (!broken.ok())
      for (const auto& rank : ranks_) rank->stop();
    if (ended == ranks_.size()) ending_.tell(broken);
  }

  std::mutex mutex_;
  bool complete_ = false;  // all ranks are there and may be looked at
  Ending ending_;
  std::vector<std::unique_ptr<Worker>> ranks_;  // destroyed before what they tell of their end
  std::unique_ptr<Operations> operations_;      // looks at the ranks
};

}  // namespace

Result<std::unique_ptr<Worker>> start_expert_workers(const WorkerConfig& config,
                                                     WorkerParts parts) {
  auto workers = std::make_unique<ExpertWorkers>(std::move(parts.on_end));
  FATHOM_CHECKED(workers->open(config, parts));
  return std::unique_ptr<Worker>(std::move(workers));
}

}  // namespace fathom
