#include "net/inference_service.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <deque>
#include <mutex>

#include "inference.grpc.pb.h"
#include "net/grpc_status.h"
#include "net/wire_inference.h"

namespace fathom {
namespace {

rpc::Caller caller_of(const grpc::CallbackServerContext& context) {
  rpc::Caller caller;
  caller.peer = context.peer();
  const auto& metadata = context.client_metadata();
  const auto value = [&](const char* key) {
    const auto it = metadata.find(key);
    return it == metadata.end() ? std::string() : std::string(it->second.data(), it->second.size());
  };
  caller.authorization = value("authorization");
  caller.x_api_key = value("x-api-key");
  caller.api_key = value("api-key");
  caller.request_id = value("x-request-id");
  const auto deadline = context.deadline();
  if (deadline != std::chrono::system_clock::time_point::max()) {
    const auto left = deadline - std::chrono::system_clock::now();
    caller.time_left = {std::max<int64_t>(std::chrono::nanoseconds(left).count(), 0)};
  }
  return caller;
}

// One streaming call: writes one event at a time, finishes once.
template <class Event, class Wire>
class Call final : public grpc::ServerWriteReactor<Wire> {
 public:
  explicit Call(grpc::CallbackServerContext* context) : context_(context) {}

  void begin(std::shared_ptr<Call> self) { self_ = std::move(self); }
  void write(const Event& event) {
    std::function<void()> left;
    {
      std::lock_guard lock(mutex_);
      if (ending_) return;
      queue_.emplace_back();
      wire::to_wire(event, queue_.back());
      queued_bytes_ += queue_.back().ByteSizeLong();
      if (queued_bytes_ > rpc::kStreamBytesMax) {
        left = cancel_locked({Code::resource_exhausted, "the client does not read its events", {}});
        context_->TryCancel();
      }
      step_locked();
    }
    if (left) left();
  }
  void finish(const Status& status) {
    std::function<void()> unused;  // let go of outside of the lock
    std::lock_guard lock(mutex_);
    if (ending_) return;
    ending_ = true;
    status_ = status;
    unused = std::move(left_);
    step_locked();
  }
  void on_cancel(std::function<void()> left) {
    {
      std::lock_guard lock(mutex_);
      if (!ending_) {
        left_.swap(left);
        return;
      }
      if (!cancelled_) return;
    }
    left();
  }

 private:
  // The next write, or the end.
  void step_locked() {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      out_.Swap(&queue_.front());
      queue_.pop_front();
      queued_bytes_ -= out_.ByteSizeLong();
      writing_ = true;
      this->StartWrite(&out_);
    } else if (ending_) {
      finished_ = true;
      this->Finish(wire::to_grpc(status_, *context_));
    }
  }
  std::function<void()> cancel_locked(Error why) {
    queue_.clear();
    queued_bytes_ = 0;
    if (ending_) return nullptr;
    ending_ = cancelled_ = true;
    status_ = std::move(why);
    return std::exchange(left_, nullptr);
  }
  void OnWriteDone(bool ok) override { written(ok); }
  void OnCancel() override { written(false, false); }
  void written(bool ok, bool was_write = true) {
    std::function<void()> left;
    {
      std::lock_guard lock(mutex_);
      if (was_write) writing_ = false;
      if (!ok) left = cancel_locked({Code::cancelled, "the client left", {}});
      step_locked();
    }
    if (left) left();
  }
  void OnDone() override { const auto self = std::move(self_); }

  grpc::CallbackServerContext* const context_;
  std::shared_ptr<Call> self_;
  std::mutex mutex_;
  std::deque<Wire> queue_;
  size_t queued_bytes_ = 0;
  Wire out_;
  std::function<void()> left_;
  bool writing_ = false, ending_ = false, cancelled_ = false, finished_ = false;
  Status status_;
};

// What the handler holds; when the last holder lets go, an unfinished call ends.
template <class Event, class Wire>
class Stream final : public rpc::EventStream<Event> {
 public:
  explicit Stream(std::shared_ptr<Call<Event, Wire>> call) : call_(std::move(call)) {}
  ~Stream() override {
    call_->finish(Error{Code::internal, "the request was dropped unanswered", {}});
  }
  void write(const Event& event) override { call_->write(event); }
  void finish(Status status) override { call_->finish(status); }
  void on_cancel(std::function<void()> left) override { call_->on_cancel(std::move(left)); }

 private:
  const std::shared_ptr<Call<Event, Wire>> call_;
};

// One unary call; finishes with INTERNAL when the handler lets go of it unanswered.
template <class Wire>
class Answer {
 public:
  Answer(grpc::CallbackServerContext* context, Wire* response)
      : context_(context),
        response_(response),
        reactor_(context->DefaultReactor()) {}  // once: it makes a new one
  ~Answer() { finish(Error{Code::internal, "the request was dropped unanswered", {}}); }
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }
  template <class Value>
  void reply(const Result<Value>& result) {
    if (answered_.exchange(true)) return;
    if (result.ok()) wire::to_wire(result.value(), *response_);
    reactor_->Finish(result.ok() ? grpc::Status::OK : wire::to_grpc(result.error(), *context_));
  }
  void finish(const Error& error) {
    if (!answered_.exchange(true)) reactor_->Finish(wire::to_grpc(error, *context_));
  }

 private:
  grpc::CallbackServerContext* const context_;
  Wire* const response_;
  grpc::ServerUnaryReactor* const reactor_;
  std::atomic<bool> answered_ = false;
};

class Service final : public InferenceService, private v1::Inference::CallbackService {
 public:
  explicit Service(InferenceHandler& handler) : handler_(handler) {}
  grpc::Service& grpc() override { return *this; }

 private:
  grpc::ServerWriteReactor<v1::ChatEvent>* Chat(grpc::CallbackServerContext* context,
                                                const v1::ChatRequest* in) override {
    return start<rpc::ChatEvent, v1::ChatEvent>(
        context, *in, [&](rpc::Caller&& caller, rpc::ChatRequest&& request, auto stream) {
          handler_.chat(std::move(caller), std::move(request), std::move(stream));
        });
  }
  grpc::ServerWriteReactor<v1::CompleteEvent>* Complete(grpc::CallbackServerContext* context,
                                                        const v1::CompleteRequest* in) override {
    return start<rpc::CompleteEvent, v1::CompleteEvent>(
        context, *in, [&](rpc::Caller&& caller, rpc::CompleteRequest&& request, auto stream) {
          handler_.complete(std::move(caller), std::move(request), std::move(stream));
        });
  }
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* in,
                                     v1::TokenizeResponse* out) override {
    const auto answer = std::make_shared<Answer<v1::TokenizeResponse>>(context, out);
    auto request = wire::from_wire(*in);
    if (request.ok()) {
      handler_.tokenize(caller_of(*context), std::move(request).value(),
                        [answer](const Result<rpc::TokenizeResponse>& r) { answer->reply(r); });
    } else {
      answer->finish(request.error());
    }
    return answer->reactor();
  }
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest*,
                                       v1::ListModelsResponse* out) override {
    const auto answer = std::make_shared<Answer<v1::ListModelsResponse>>(context, out);
    handler_.list_models(caller_of(*context),
                         [answer](const Result<std::vector<rpc::Model>>& r) { answer->reply(r); });
    return answer->reactor();
  }

  template <class Event, class Wire, class Request, class Handle>
  grpc::ServerWriteReactor<Wire>* start(grpc::CallbackServerContext* context, const Request& in,
                                        Handle handle) {
    const auto call = std::make_shared<Call<Event, Wire>>(context);
    call->begin(call);
    auto request = wire::from_wire(in);
    if (request.ok())
      handle(caller_of(*context), std::move(request).value(),
             std::make_shared<Stream<Event, Wire>>(call));
    else
      call->finish(request.error());
    return call.get();
  }

  InferenceHandler& handler_;
};

}  // namespace

std::unique_ptr<InferenceService> make_inference_service(InferenceHandler& handler) {
  return std::make_unique<Service>(handler);
}

}  // namespace fathom
