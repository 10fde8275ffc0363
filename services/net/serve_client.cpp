#include <algorithm>
#include <condition_variable>

#include "contract/drive.h"
#include "net/backoff.h"
#include "net/client_stream.h"
#include "net/grpc_channel.h"
#include "net/router_link.h"
#include "net/timer_loop.h"
#include "net/wire_serve.h"
#include "process/log.h"
#include "router.grpc.pb.h"

namespace fathom {
namespace {

// What may wait to be written: 4 M prompt tokens, 16 MB. A router that reads takes it in
// milliseconds.
constexpr int64_t kTokensQueuedMax = int64_t{4} << 20;

class StreamOwner {
 public:
  virtual ~StreamOwner() = default;
  virtual void on_stream_open() = 0;
  virtual void on_stream_events(std::vector<FromRouter> events) = 0;
  virtual void on_stream_end(const Error& why) = 0;
};

// One connection to the router.
class ServeStream final : public wire::ClientStream<v1::ToRouter, v1::FromRouter> {
 public:
  ServeStream(StreamOwner& owner, const std::string& address, std::string name)
      : owner_(owner),
        name_(std::move(name)),
        stub_(v1::Router::NewStub(wire::open_channel(address))) {}

  void start(const std::shared_ptr<ServeStream>& self) {
    begin(self, [this](grpc::ClientContext* context, auto* reactor) {
      stub_->async()->Serve(context, reactor);
    });
  }
  Status send(std::vector<ToRouter> messages) {
    int64_t weight = 0;
    for (const ToRouter& message : messages) {
      const auto* submit = std::get_if<Submit>(&message);
      weight += 1 + (submit ? static_cast<int64_t>(submit->tokens.size()) : 0);
    }
    std::lock_guard lock(mutex_);
    if (closed_) return Error{Code::unavailable, "not connected to the router", {}};
    if (queued_ + weight > kTokensQueuedMax && !queue_.empty())
      return Error{Code::resource_exhausted, "too much waits for the router", {}};
    queued_ += weight;
    std::move(messages.begin(), messages.end(), std::back_inserter(queue_));
    poke_locked();
    return {};
  }

 private:
  bool fill(v1::ToRouter& out) override {
    if (greeted_ && queue_.empty()) return false;
    if (!greeted_) {
      out.mutable_hello()->set_protocol(kProtocolVersion);
      out.mutable_hello()->set_name(name_);
      greeted_ = true;
    }
    wire::to_wire(queue_, out);
    queue_.clear();
    queued_ = 0;
    return true;
  }
  void on_open() override { owner_.on_stream_open(); }
  Status on_message(const v1::FromRouter& in) override {
    FATHOM_TRY(std::vector<FromRouter> events, wire::from_wire(in));
    owner_.on_stream_events(std::move(events));
    return {};
  }
  void on_end(const Error& why) override { owner_.on_stream_end(why); }

  StreamOwner& owner_;
  const std::string name_;
  const std::unique_ptr<v1::Router::Stub> stub_;
  bool greeted_ = false;
  std::vector<ToRouter> queue_;
  int64_t queued_ = 0;
};

class ServeClient final : public RouterLink, private StreamOwner {
 public:
  ServeClient(const std::string& address, const std::string& name, RouterEvents& events)
      : address_(address), name_(name), events_(events) {
    loop_.post([this] { connect(); });
  }
  ~ServeClient() override;
  Status send(std::vector<ToRouter> messages) override {
    std::shared_ptr<ServeStream> stream;
    {
      std::lock_guard lock(mutex_);
      if (connected_) stream = stream_;
    }
    if (!stream) return Error{Code::unavailable, "not connected to the router", {}};
    return stream->send(std::move(messages));
  }

 private:
  void connect();
  void on_stream_open() override {
    std::lock_guard serial(events_mutex_);
    open_locked();
  }
  void on_stream_events(std::vector<FromRouter> events) override {
    std::lock_guard serial(events_mutex_);
    open_locked();  // the acceptance may be delivered after the first events
    events_.on_events(std::move(events));
  }
  void on_stream_end(const Error& why) override;
  // With events_mutex_ held.
  void open_locked();

  const std::string address_;
  const std::string name_;
  RouterEvents& events_;
  std::mutex events_mutex_;  // events are delivered one after the other
  std::mutex mutex_;
  std::condition_variable ended_;
  std::shared_ptr<ServeStream> stream_;
  bool connected_ = false;
  bool stopped_ = false;
  bool complained_ = false;  // about this outage
  Backoff backoff_;
  TimerLoop loop_;
};

void ServeClient::connect() {
  std::shared_ptr<ServeStream> stream;
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    stream = stream_ =
        std::make_shared<ServeStream>(static_cast<StreamOwner&>(*this), address_, name_);
  }
  stream->start(stream);
}

void ServeClient::open_locked() {
  {
    std::lock_guard lock(mutex_);
    if (connected_ || stopped_) return;
    connected_ = true;
    complained_ = false;
    backoff_.reset();
  }
  log_info("connected to the router", {{"address", address_}});
  events_.on_router_connected();
}

void ServeClient::on_stream_end(const Error& why) {
  std::unique_lock serial(events_mutex_);
  bool was_connected = false, complain = false;
  {
    std::lock_guard lock(mutex_);
    was_connected = std::exchange(connected_, false) && !stopped_;
    complain = !stopped_ && !std::exchange(complained_, true);
  }
  if (complain) log_warning("no router", {{"address", address_}, {"why", why.text()}});
  if (was_connected) events_.on_router_lost(why);
  serial.unlock();
  std::lock_guard lock(mutex_);
  stream_.reset();
  if (stopped_) return ended_.notify_all();  // under the lock: we may be destroyed right after
  loop_.after(backoff_.next(), [this] { connect(); });
}

ServeClient::~ServeClient() {
  std::shared_ptr<ServeStream> stream;
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

std::unique_ptr<RouterLink> connect_router(const std::string& address,
                                           const std::string& gateway_name, RouterEvents& events) {
  return std::make_unique<ServeClient>(address, gateway_name, events);
}

}  // namespace fathom
