// Who remembers what was asked of the router? Every choice in flight is kept with its prompt and
// the tokens it has emitted, so when a router is lost the next one continues where the client's
// text ends. Each choice hears its tokens in order, without gap or repetition, and exactly one end.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "gateway/metrics.h"
#include "net/http_threads.h"
#include "net/router_link.h"

namespace fathom {

// One choice in flight. Called on its loop; may cancel itself from inside.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  // `arrived`: when the process got them from the router. A finish in it is the last call.
  virtual void on_tokens(Tokens tokens, Instant arrived) = 0;
  virtual void on_finished(const Finished& end) = 0;  // the last call
};

struct DispatchConfig {
  int32_t pending_max = 4096;
  Duration router_patience = Duration::seconds(60);
};

struct DispatchEntry;  // a choice in flight; valid until its end was told or it was cancelled

class Dispatch final : public RouterEvents {
 public:
  Dispatch(const DispatchConfig& config, HttpThreads& threads, const Clock& clock,
           GatewayMetrics& metrics);
  ~Dispatch() override;
  void set_link(RouterLink* link) {
    link_ = link;
  }  // before any traffic; null before the link goes away

  // On loop `thread`. The submit's id is given here. RESOURCE_EXHAUSTED or UNAVAILABLE refuse it.
  Result<DispatchEntry*> submit(int thread, Submit submit, TokenSink& sink);
  void cancel(int thread, DispatchEntry* entry);  // the sink hears nothing more

  ClusterState cluster() const;
  bool connected() const { return connected_; }
  int pending() const { return pending_; }

  void on_events(std::vector<FromRouter> events) override;
  void on_router_lost(const Error& why) override;
  void on_router_connected() override;

 private:
  struct Shard {
    uint64_t submitted = 0;
    std::unordered_map<RequestId, std::unique_ptr<DispatchEntry>> entries;
    std::vector<RequestId> uncancelled;  // cancels that the link had no room for
    std::unique_ptr<HttpTimer> sweep;
    bool sweeping = false;
  };

  Shard& shard(int thread) { return *shards_[static_cast<size_t>(thread)]; }
  RequestId next_id(int thread);
  void deliver(int thread, std::vector<FromRouter>& events, Instant arrived);
  void deliver_tokens(int thread, Tokens tokens, Instant arrived);
  void deliver_finished(int thread, const Finished& finished);
  void end(int thread, RequestId id, const Finished& finished);
  void lose(int thread, uint64_t epoch);
  void resubmit(int thread);
  void sweep(int thread);
  void sweep_soon(int thread);
  void send_cancel(int thread, RequestId id);

  const DispatchConfig config_;
  HttpThreads& threads_;
  const Clock& clock_;
  GatewayMetrics& metrics_;
  std::atomic<RouterLink*> link_ = nullptr;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::atomic<int> pending_{0};
  std::atomic<bool> connected_{false};
  std::atomic<bool> recovering_{false};  // a stream broke and no ready router was seen since
  std::atomic<uint64_t> epoch_{0};       // counts the router's streams
  mutable std::mutex cluster_mutex_;
  ClusterState cluster_;
};

}  // namespace fathom
