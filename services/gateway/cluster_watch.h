// Who watches the cluster through this gateway, and how do all of them share one subscription? The
// router is watched only while somebody asks or listens, and a few seconds longer. Each connection
// lives on its loop and is touched there only; updates come from the link's thread, are made into
// text once, and are posted to the loops.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "gateway/cluster_board.h"
#include "net/http_server.h"
#include "net/watch_link.h"

namespace fathom {

struct ClusterWatchConfig {
  Duration keep_alive = Duration::seconds(10);     // between signs of life
  Duration state_patience = Duration::seconds(3);  // for the first update, when nothing is known
  Duration linger = Duration::seconds(5);          // watching on after the last one left
};

class ClusterWatch final : public WatchEvents {
 public:
  ClusterWatch(const ClusterWatchConfig& config, HttpThreads& threads, const Clock& clock);
  ~ClusterWatch() override;
  // Before any traffic; null before the link goes away.
  void set_link(WatchLink* link) { link_ = link; }

  // On the exchange's loop. `ended(status)` is called once the status is known.
  void answer_state(std::shared_ptr<HttpExchange> exchange, std::function<void(int)> ended);
  // `from`: what the reader has; null: it begins with the present.
  void stream_events(std::shared_ptr<HttpExchange> exchange, std::optional<WatchFrom> from);
  // Ends every stream; those that come later are refused.
  void drain();
  bool draining() const { return draining_; }

  WatchFrom watched_so_far() override;
  void on_update(ClusterUpdate update) override;
  void on_watch_lost(const Error& why) override;

 private:
  struct Reader {
    std::shared_ptr<HttpExchange> exchange;
    std::optional<WatchFrom> told;  // nothing yet, and nothing older is wanted
    Instant written;
  };
  struct Waiting {
    std::shared_ptr<HttpExchange> exchange;
    std::function<void(int)> ended;
    Instant since;
  };
  struct Loop {
    std::vector<std::shared_ptr<Reader>> readers;
    std::vector<Waiting> waiting;
    std::unique_ptr<HttpTimer> timer;
    bool ticking = false;
  };
  // One update as text, for readers who had all before it.
  struct News {
    WatchFrom before, after;
    std::string text;
  };

  Loop& loop(int thread) { return *loops_[static_cast<size_t>(thread)]; }
  void join(int thread);
  void leave(int thread);
  void tick(int thread);
  void tick_soon(int thread);
  void rest_when_alone();
  void deliver(int thread, const std::shared_ptr<const News>& news);
  void tell_lost(int thread, const std::string& text);
  void tell(Reader& reader, const std::string& text);
  void answer_waiting(int thread);
  void answer(const Waiting& waiting);
  void end_readers(int thread);

  const ClusterWatchConfig config_;
  HttpThreads& threads_;
  const Clock& clock_;
  std::atomic<WatchLink*> link_ = nullptr;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::atomic<bool> draining_ = false;

  std::mutex interest_mutex_;  // taken before the link's own
  int interested_ = 0;
  Instant alone_since_{0};
  std::atomic<bool> wanted_ = false;

  std::mutex board_mutex_;  // taken after the link's own
  ClusterBoard board_;
  bool live_ = false;  // an update came since the router is watched
};

}  // namespace fathom
