#include "net/watch_link.h"

#include <condition_variable>

#include "contract/drive.h"
#include "net/backoff.h"
#include "net/client_stream.h"
#include "net/grpc_channel.h"
#include "net/timer_loop.h"
#include "net/wire_watch.h"
#include "router.grpc.pb.h"

namespace fathom {
namespace {

class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  virtual void on_stream_update(ClusterUpdate update) = 0;
  virtual void on_stream_end(const Error& why) = 0;
};

class WatchStream final : public wire::ClientStream<v1::WatchRequest, v1::ClusterUpdate> {
 public:
  WatchStream(StreamOwner& owner, const std::string& address, const WatchFrom& from)
      : owner_(owner), from_(from), stub_(v1::Cluster::NewStub(wire::open_channel(address))) {}

  void start(const std::shared_ptr<WatchStream>& self) {
    begin(self, [this](grpc::ClientContext* context, auto* reactor) {
      stub_->async()->Watch(context, reactor);
    });
  }

 private:
  bool fill(v1::WatchRequest& out) override {
    if (asked_) return false;
    asked_ = true;
    wire::to_wire(from_, out);
    return true;
  }
  Status on_message(const v1::ClusterUpdate& in) override {
    FATHOM_TRY(ClusterUpdate update, wire::from_wire(in));
    owner_.on_stream_update(std::move(update));
    return {};
  }
  void on_end(const Error& why) override { owner_.on_stream_end(why); }

  StreamOwner& owner_;
  const WatchFrom from_;
  const std::unique_ptr<v1::Cluster::Stub> stub_;
  bool asked_ = false;
};

// One stream at most; connecting and letting go happen on the loop, so that watch() never waits.
class WatchClient final : public WatchLink, private StreamOwner {
 public:
  WatchClient(const std::string& address, WatchEvents& events)
      : address_(address), events_(events) {}
  ~WatchClient() override;
  void watch(bool wanted) override {
    {
      std::lock_guard lock(mutex_);
      if (wanted_ == wanted) return;
      wanted_ = wanted;
      backoff_.reset();
      told_lost_ = false;
    }
    loop_.post([this] { follow(); });
  }

 private:
  void follow();  // does what is wanted
  void on_stream_update(ClusterUpdate update) override {
    {
      std::lock_guard lock(mutex_);
      backoff_.reset();
      told_lost_ = false;
    }
    events_.on_update(std::move(update));
  }
  void on_stream_end(const Error& why) override;

  const std::string address_;
  WatchEvents& events_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::shared_ptr<WatchStream> stream_;
  bool wanted_ = false;
  bool stopped_ = false;
  bool let_go_ = false;     // of the stream, since nobody watched
  bool told_lost_ = false;  // of this outage
  Backoff backoff_;
  TimerLoop loop_;
};

void WatchClient::follow() {
  std::shared_ptr<WatchStream> open, close;
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    if (!wanted_) close = stream_;
    let_go_ = let_go_ || close;
    if (wanted_ && !stream_) {
      open = stream_ = std::make_shared<WatchStream>(static_cast<StreamOwner&>(*this), address_,
                                                     events_.watched_so_far());
    }
  }
  if (open) open->start(open);
  if (close) close->close({Code::cancelled, "nobody watches", {}});
}

void WatchClient::on_stream_end(const Error& why) {
  bool tell = false;
  {
    std::lock_guard lock(mutex_);
    // One that we ended ourselves is no loss, even if it is wanted again by now.
    tell =
        !std::exchange(let_go_, false) && wanted_ && !stopped_ && !std::exchange(told_lost_, true);
  }
  if (tell) events_.on_watch_lost(why);
  std::lock_guard lock(mutex_);
  stream_.reset();
  if (stopped_) return ended_.notify_all();  // under the lock: we may be destroyed right after
  if (!wanted_) return;
  loop_.after(backoff_.next(), [this] { follow(); });
}

WatchClient::~WatchClient() {
  std::shared_ptr<WatchStream> stream;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  loop_.stop();
  {
    std::lock_guard lock(mutex_);
    stream = stream_;
  }
  if (stream) stream->close({Code::cancelled, "the gateway is stopping", {}});
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [this] { return stream_ == nullptr; });
}

}  // namespace

std::unique_ptr<WatchLink> connect_watch(const std::string& address, WatchEvents& events) {
  return std::make_unique<WatchClient>(address, events);
}

}  // namespace fathom
