#include "net/watch_service.h"

#include <deque>
#include <map>
#include <shared_mutex>

#include "net/server_stream.h"
#include "net/wire_watch.h"
#include "process/log.h"
#include "router.grpc.pb.h"

namespace fathom {
namespace {

class WatchStream;

// Who watches, and who hears of it.
class Watchers {
 public:
  Watchers(WatcherEvents& events, const WatchOptions& limits) : options(limits), events_(&events) {}

  Result<WatcherId> up(const std::shared_ptr<WatchStream>& stream, const WatchFrom& from);
  void down(WatcherId watcher);
  std::shared_ptr<WatchStream> find(WatcherId watcher) {
    std::lock_guard lock(streams_mutex_);
    const auto it = streams_.find(watcher);
    return it == streams_.end() ? nullptr : it->second;
  }
  void stop();

  const WatchOptions options;

 private:
  std::shared_mutex
      events_mutex_;  // shared while an event is delivered; taken before streams_mutex_
  WatcherEvents* events_;
  std::mutex streams_mutex_;
  std::map<WatcherId, std::shared_ptr<WatchStream>> streams_;
  uint32_t last_watcher_ = 0;
};

class WatchStream final : public wire::ServerStream<v1::WatchRequest, v1::ClusterUpdate>,
                          public std::enable_shared_from_this<WatchStream> {
 public:
  WatchStream(grpc::CallbackServerContext* context, std::shared_ptr<Watchers> watchers)
      : ServerStream(context), watchers_(std::move(watchers)) {}

  void accept() {
    std::lock_guard lock(mutex_);
    accept_locked();
  }
  void send(ClusterUpdate update) {
    std::lock_guard lock(mutex_);
    if (ending_) return;
    queue_.push_back(std::move(update));
    if (queue_.size() > watchers_->options.updates_queued_max) {
      log_warning("watcher does not read and is disconnected", {{"id", watcher_.value}});
      cut_locked({Code::resource_exhausted, "the watcher does not read its updates", {}});
      return;
    }
    poke_locked();
  }

 private:
  bool fill(v1::ClusterUpdate& out) override {
    if (queue_.empty()) return false;
    wire::to_wire(queue_.front(), out);
    queue_.pop_front();
    return true;
  }
  Status on_message(const v1::WatchRequest& in) override {
    if (watcher_.value != 0) return invalid("a watcher says only once what it has", "second");
    FATHOM_TRY(const WatchFrom from, wire::from_wire(in));
    FATHOM_TRY(watcher_, watchers_->up(shared_from_this(), from));
    return {};
  }
  void on_done() override {
    if (watcher_.value != 0) watchers_->down(watcher_);
  }

  const std::shared_ptr<Watchers> watchers_;
  WatcherId watcher_;  // 0 until it said what it has; written by the reading side only
  std::deque<ClusterUpdate> queue_;
};

Result<WatcherId> Watchers::up(const std::shared_ptr<WatchStream>& stream, const WatchFrom& from) {
  std::shared_lock hold(events_mutex_);
  if (!events_) return Error{Code::unavailable, "the router is stopping", {}};
  WatcherId watcher;
  {
    std::lock_guard lock(streams_mutex_);
    if (streams_.size() >= options.watchers_max)
      return Error{Code::resource_exhausted, "too many watch already", {}};
    watcher = WatcherId{++last_watcher_};
    streams_.emplace(watcher, stream);
  }
  stream->accept();
  events_->on_watcher_up(watcher, from);
  return watcher;
}

void Watchers::down(WatcherId watcher) {
  std::shared_lock hold(events_mutex_);
  {
    std::lock_guard lock(streams_mutex_);
    streams_.erase(watcher);
  }
  if (events_) events_->on_watcher_down(watcher);
}

void Watchers::stop() {
  {
    std::unique_lock lock(events_mutex_);
    events_ = nullptr;
  }
  std::map<WatcherId, std::shared_ptr<WatchStream>> streams;
  {
    std::lock_guard lock(streams_mutex_);
    streams.swap(streams_);
  }
  for (const auto& [watcher, stream] : streams)
    stream->end(Error{Code::unavailable, "the router is stopping", {}});
}

class Service final : public WatchService, private v1::Cluster::CallbackService {
 public:
  Service(WatcherEvents& events, const WatchOptions& options)
      : watchers_(std::make_shared<Watchers>(events, options)) {}
  ~Service() override { watchers_->stop(); }
  grpc::Service& grpc() override { return *this; }
  void send(WatcherId watcher, ClusterUpdate update) override {
    if (const auto stream = watchers_->find(watcher)) stream->send(std::move(update));
  }
  void stop() override { watchers_->stop(); }

 private:
  grpc::ServerBidiReactor<v1::WatchRequest, v1::ClusterUpdate>* Watch(
      grpc::CallbackServerContext* context) override {
    const auto stream = std::make_shared<WatchStream>(context, watchers_);
    stream->begin(stream);
    return stream.get();
  }

  const std::shared_ptr<Watchers> watchers_;
};

}  // namespace

std::unique_ptr<WatchService> make_watch_service(WatcherEvents& events,
                                                 const WatchOptions& options) {
  return std::make_unique<Service>(events, options);
}

}  // namespace fathom
