// How does news from many gRPC threads reach the one thread that thinks? Through a bounded queue
// that the brain empties whole: one tick per wake-up, however much came. Whoever puts never waits.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "contract/drive.h"
#include "contract/serve.h"
#include "contract/watch.h"
#include "net/watch_service.h"

namespace fathom {

struct GatewayUp {
  GatewayId gateway;
  std::string name;
};
struct GatewayMessages {
  GatewayId gateway;
  std::vector<ToRouter> messages;
};
struct GatewayDown {
  GatewayId gateway;
};
struct WorkerReport {
  WorkerId worker;
  std::string address;
  Report report;
};
struct WorkerDown {
  WorkerId worker;
  std::string address;
  Error why;
};
struct WatcherUp {
  WatcherId watcher;
  WatchFrom from;
};
struct WatcherDown {
  WatcherId watcher;
};
struct DrainNow {};

using News = std::variant<GatewayUp, GatewayMessages, GatewayDown, WorkerReport, WorkerDown,
                          WatcherUp, WatcherDown, DrainNow>;

class RouterInbox {
 public:
  // `weight_max` in tokens, roughly: what may wait before put() says no.
  explicit RouterInbox(int64_t weight_max) : weight_max_(weight_max) {}

  // False when so much waits already that the brain is hopelessly behind; `news` is left as it was
  // then.
  bool put(News&& news, int64_t weight) {
    {
      std::lock_guard lock(mutex_);
      if (weight_ + weight > weight_max_) return false;
      add_locked(std::move(news), weight);
    }
    wake_.notify_one();
    return true;
  }
  // For news that can not be refused and comes at most once per connection.
  void force(News&& news) {
    {
      std::lock_guard lock(mutex_);
      add_locked(std::move(news), 1);
    }
    wake_.notify_one();
  }
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    wake_.notify_one();
  }
  // Waits for news, at most `patience`; swaps all of it into `out`. False once stopped.
  bool take(std::vector<News>& out, Duration patience);

 private:
  void add_locked(News&& news, int64_t weight) {
    news_.push_back(std::move(news));
    weight_ += weight;
  }

  const int64_t weight_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<News> news_;
  int64_t weight_ = 0;
  bool stopped_ = false;
};

}  // namespace fathom
