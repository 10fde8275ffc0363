#include "worker/follower.h"

#include <atomic>
#include <string>
#include <thread>
#include <utility>

#include "net/http_operations.h"
#include "worker/ending.h"
#include "worker/engine_choice.h"

namespace fathom {
namespace {

// Outlives the worker when its thread does: a follower can not be called back from a collective,
// only its leader or the end of the process frees it.
struct FollowerLife {
  explicit FollowerLife(std::function<void()> on_end) : ending(std::move(on_end)) {}
  Ending ending;
  std::mutex progress_mutex;
  std::function<void(double)> on_progress;
  std::atomic<double> loaded = 0;

  void progress(double fraction) {
    loaded = fraction;
    const std::lock_guard lock(progress_mutex);
    if (on_progress) on_progress(fraction);
  }
};

class Follower final : public Worker {
 public:
  explicit Follower(WorkerParts parts)
      : life_(std::make_shared<FollowerLife>(std::move(parts.on_end))) {
    life_->on_progress = std::move(parts.on_progress);
  }
  ~Follower() override {
    const bool over = life_->ending.ended() && !cut_;
    {
      const std::lock_guard lock(life_->progress_mutex);
      life_->on_progress = nullptr;
    }
    if (!thread_.joinable()) return;
    if (over)
      thread_.join();
    else
      thread_.detach();
  }

  Status open(const WorkerConfig& config, const Metrics& metrics) {
    if (config.operations_listen.empty()) return {};
    auto operations =
        serve_operations(config.operations_listen, metrics, [life = life_]() -> std::string {
          if (life->ending.ended()) return "the group has ended";
          return life->loaded < 1 ? "the weights are loading" : "";
        });
    if (!operations.ok()) return operations.error();
    operations_ = std::move(operations).value();
    return {};
  }
  void begin(const WorkerConfig& config) {
    thread_ = std::thread([life = life_, config] {
      const Status result = follow(config, [&](double fraction) { life->progress(fraction); });
      life->ending.tell(result);
    });
  }

  std::string address() const override { return {}; }
  std::string operations_address() const override {
    return operations_ ? operations_->address() : "";
  }
  WorkerState state() const override {
    if (life_->ending.ended()) return WorkerState::ended;
    return life_->loaded < 1 ? WorkerState::loading : WorkerState::serving;
  }
  std::string not_ready() const override {
    return state() == WorkerState::serving ? "" : "the weights are loading";
  }
  void drain() override {}  // it ends with its leader, which is drained too
  void stop() override {
    if (!life_->ending.ended()) cut_ = true;
    life_->ending.tell({});
  }
  bool wait(Duration patience) override { return life_->ending.wait(patience); }
  Status result() const override { return life_->ending.result(); }

 private:
  std::shared_ptr<FollowerLife> life_;
  std::unique_ptr<Operations> operations_;
  std::thread thread_;
  std::atomic<bool> cut_ = false;  // stopped while its leader still lives
};

}  // namespace

Result<std::unique_ptr<Worker>> start_follower(const WorkerConfig& config, WorkerParts parts) {
  const Metrics& metrics = parts.metrics;
  auto follower = std::make_unique<Follower>(std::move(parts));
  FATHOM_CHECKED(follower->open(config, metrics));
  follower->begin(config);
  return std::unique_ptr<Worker>(std::move(follower));
}

}  // namespace fathom
