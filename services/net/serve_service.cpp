#include "net/serve_service.h"

#include <map>
#include <shared_mutex>

#include "contract/drive.h"
#include "net/server_stream.h"
#include "net/wire_serve.h"
#include "process/log.h"
#include "router.grpc.pb.h"

namespace fathom {
namespace {

// One message carries at most so many events: it stays far below the size limit, and the gateway
// can start.
constexpr size_t kEventsPerMessage = 8192;

class GatewayStream;

// Who is connected, and who hears of it.
class Gateways {
 public:
  Gateways(GatewayEvents& events, int64_t most_tokens_queued)
      : tokens_queued_max(most_tokens_queued), events_(&events) {}

  Result<GatewayId> up(const std::shared_ptr<GatewayStream>& stream, const std::string& name);
  void messages(GatewayId gateway, std::vector<ToRouter> messages) {
    std::shared_lock hold(events_mutex_);
    if (events_) events_->on_gateway_messages(gateway, std::move(messages));
  }
  void down(GatewayId gateway);
  std::shared_ptr<GatewayStream> find(GatewayId gateway) {
    std::lock_guard lock(streams_mutex_);
    const auto it = streams_.find(gateway);
    return it == streams_.end() ? nullptr : it->second;
  }
  void stop();

  const int64_t tokens_queued_max;

 private:
  std::shared_mutex
      events_mutex_;  // shared while an event is delivered; taken before streams_mutex_
  GatewayEvents* events_;
  std::mutex streams_mutex_;
  std::map<GatewayId, std::shared_ptr<GatewayStream>> streams_;
  uint32_t last_gateway_ = 0;
};

int64_t weight(const FromRouter& event) {
  const auto* tokens = std::get_if<Tokens>(&event);
  if (!tokens) return 1;
  return 1 + static_cast<int64_t>(tokens->tokens.size() + tokens->logprobs.size() +
                                  tokens->prompt_logprobs.size());
}

class GatewayStream final : public wire::ServerStream<v1::ToRouter, v1::FromRouter>,
                            public std::enable_shared_from_this<GatewayStream> {
 public:
  GatewayStream(grpc::CallbackServerContext* context, std::shared_ptr<Gateways> gateways)
      : ServerStream(context), gateways_(std::move(gateways)) {}

  void accept() {
    std::lock_guard lock(mutex_);
    accept_locked();
  }
  void send(std::vector<FromRouter> events) {
    std::lock_guard lock(mutex_);
    if (ending_) return;
    for (FromRouter& event : events) {
      queued_ += weight(event);
      queue_.push_back(std::move(event));
    }
    if (queued_ > gateways_->tokens_queued_max) {
      log_warning("gateway does not read and is disconnected", {{"queued_tokens", queued_}});
      cut_locked({Code::resource_exhausted, "the gateway does not read its events", {}});
      return;
    }
    poke_locked();
  }

 private:
  bool fill(v1::FromRouter& out) override {
    if (queue_.empty()) return false;
    const size_t count = std::min(queue_.size(), kEventsPerMessage);
    wire::to_wire(std::span(queue_).first(count), out);
    for (size_t i = 0; i < count; ++i) queued_ -= weight(queue_[i]);
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    return true;
  }
  Status on_message(const v1::ToRouter& in) override {
    if (gateway_.value == 0) {
      FATHOM_CHECKED(check(in));
      FATHOM_TRY(gateway_, gateways_->up(shared_from_this(), in.hello().name()));
    } else if (in.has_hello()) {
      return invalid("a stream has only one hello", "hello");
    }
    FATHOM_TRY(std::vector<ToRouter> messages, wire::from_wire(in));
    if (!messages.empty()) gateways_->messages(gateway_, std::move(messages));
    return {};
  }
  static Status check(const v1::ToRouter& in) {
    if (!in.has_hello()) return invalid("the first message must carry a hello", "hello");
    if (in.hello().protocol() == kProtocolVersion) return {};
    return Error{Code::failed_precondition,
                 "the gateway speaks protocol " + std::to_string(in.hello().protocol()) +
                     ", this router " + std::to_string(kProtocolVersion),
                 "protocol"};
  }
  void on_done() override {
    if (gateway_.value != 0) gateways_->down(gateway_);
  }

  const std::shared_ptr<Gateways> gateways_;
  GatewayId gateway_;  // 0 until it said hello; touched by the reading side only
  std::vector<FromRouter> queue_;
  int64_t queued_ = 0;
};

Result<GatewayId> Gateways::up(const std::shared_ptr<GatewayStream>& stream,
                               const std::string& name) {
  std::shared_lock hold(events_mutex_);
  if (!events_) return Error{Code::unavailable, "the router is stopping", {}};
  GatewayId gateway;
  {
    std::lock_guard lock(streams_mutex_);
    gateway = GatewayId{++last_gateway_};
    streams_.emplace(gateway, stream);
  }
  stream->accept();
  events_->on_gateway_up(gateway, name);
  return gateway;
}

void Gateways::down(GatewayId gateway) {
  std::shared_lock hold(events_mutex_);
  {
    std::lock_guard lock(streams_mutex_);
    streams_.erase(gateway);
  }
  if (events_) events_->on_gateway_down(gateway);
}

// What was decided is still delivered: the last tokens of a drained router are among it.
void Gateways::stop() {
  {
    std::unique_lock lock(events_mutex_);
    events_ = nullptr;
  }
  std::map<GatewayId, std::shared_ptr<GatewayStream>> streams;
  {
    std::lock_guard lock(streams_mutex_);
    streams.swap(streams_);
  }
  for (const auto& [gateway, stream] : streams)
    stream->end_after_queue(Error{Code::unavailable, "the router is stopping", {}});
}

class Service final : public ServeService, private v1::Router::CallbackService {
 public:
  Service(GatewayEvents& events, const ServeOptions& options)
      : gateways_(std::make_shared<Gateways>(events, options.tokens_queued_max)) {}
  ~Service() override { gateways_->stop(); }
  grpc::Service& grpc() override { return *this; }
  void send(GatewayId gateway, std::vector<FromRouter> events) override {
    if (const auto stream = gateways_->find(gateway)) stream->send(std::move(events));
  }
  void stop() override { gateways_->stop(); }

 private:
  grpc::ServerBidiReactor<v1::ToRouter, v1::FromRouter>* Serve(
      grpc::CallbackServerContext* context) override {
    const auto stream = std::make_shared<GatewayStream>(context, gateways_);
    stream->begin(stream);
    return stream.get();
  }

  const std::shared_ptr<Gateways> gateways_;
};

}  // namespace

std::unique_ptr<ServeService> make_serve_service(GatewayEvents& events,
                                                 const ServeOptions& options) {
  return std::make_unique<Service>(events, options);
}

}  // namespace fathom
