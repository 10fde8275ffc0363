#include "net/drive_service.h"

#include <atomic>
#include <deque>

#include "net/server_stream.h"
#include "net/wire_drive.h"
#include "process/log.h"
#include "worker.grpc.pb.h"

namespace fathom {
namespace {

// A router that leaves so many steps unread is not coming back for them.
constexpr size_t kReportsQueuedMax = 4096;

class DriveStream;

// Which stream is obeyed? Serialises the handler's calls, so a replaced stream can not be heard
// after the one that replaced it.
class Helm {
 public:
  explicit Helm(DriveHandler& handler) : handler_(&handler) {}
  Status hello(const std::shared_ptr<DriveStream>& stream, const Hello& hello);
  void edits(const DriveStream* stream, Edits edits);
  void gone(const DriveStream* stream);
  void send(Report report);
  void stop();

 private:
  std::shared_ptr<DriveStream> exchange_current(std::shared_ptr<DriveStream> stream) {
    std::lock_guard lock(current_mutex_);
    std::swap(current_, stream);
    return stream;
  }
  bool is_current(const DriveStream* stream) {
    std::lock_guard lock(current_mutex_);
    return current_.get() == stream;
  }

  std::mutex handler_mutex_;  // held while the handler runs; taken before current_mutex_
  DriveHandler* handler_;
  uint64_t epoch_ = 0;  // the highest seen
  std::mutex current_mutex_;
  std::shared_ptr<DriveStream> current_;
};

class DriveStream final : public wire::ServerStream<v1::EditBatch, v1::Report>,
                          public std::enable_shared_from_this<DriveStream> {
 public:
  DriveStream(grpc::CallbackServerContext* context, std::shared_ptr<Helm> helm)
      : ServerStream(context), helm_(std::move(helm)) {}

  void send(Report report) {
    std::lock_guard lock(mutex_);
    if (ending_) return;
    if (queue_.size() >= kReportsQueuedMax) {
      cut_locked({Code::resource_exhausted, "the router does not read its reports", {}});
      return;
    }
    queue_.push_back(std::move(report));
    poke_locked();
  }

 private:
  bool fill(v1::Report& out) override {
    if (queue_.empty()) return false;
    wire::to_wire(queue_.front(), out);
    queue_.pop_front();
    return true;
  }
  Status on_message(const v1::EditBatch& in) override {
    FATHOM_TRY(Edits edits, wire::from_wire(in));
    if (!greeted_) {
      if (edits.empty() || !std::holds_alternative<Hello>(edits.front()))
        return invalid("the first edit of a stream must be a Hello", "hello");
      FATHOM_CHECKED(helm_->hello(shared_from_this(), std::get<Hello>(edits.front())));
      greeted_ = true;
      edits.erase(edits.begin());
    }
    for (const Edit& edit : edits)
      if (std::holds_alternative<Hello>(edit))
        return invalid("a stream has only one Hello", "hello");
    if (!edits.empty()) helm_->edits(this, std::move(edits));
    return {};
  }
  void on_done() override { helm_->gone(this); }

  const std::shared_ptr<Helm> helm_;
  std::deque<Report> queue_;
  bool greeted_ = false;  // touched by the reading side only
};

Status Helm::hello(const std::shared_ptr<DriveStream>& stream, const Hello& hello) {
  std::lock_guard lock(handler_mutex_);
  if (!handler_) return Error{Code::unavailable, "the worker is stopping", {}};
  if (hello.protocol != kProtocolVersion) {
    return Error{Code::failed_precondition,
                 "the router speaks protocol " + std::to_string(hello.protocol) + ", this worker " +
                     std::to_string(kProtocolVersion),
                 "protocol"};
  }
  if (hello.epoch < epoch_) {
    return Error{Code::failed_precondition,
                 "a newer router drives this worker: its epoch is " + std::to_string(epoch_),
                 "epoch"};
  }
  epoch_ = hello.epoch;
  FATHOM_TRY(Welcome welcome, handler_->on_hello(hello));
  Report first;
  first.free_blocks = welcome.blocks;
  first.welcome = std::move(welcome);
  stream->send(std::move(first));
  const auto before = exchange_current(stream);
  if (before) before->end(Error{Code::aborted, "replaced by a newer stream of a router", "epoch"});
  return {};
}

void Helm::edits(const DriveStream* stream, Edits edits) {
  std::lock_guard lock(handler_mutex_);
  if (handler_ && is_current(stream)) handler_->on_edits(std::move(edits));
}

void Helm::gone(const DriveStream* stream) {
  std::lock_guard lock(handler_mutex_);
  if (!is_current(stream)) return;
  exchange_current(nullptr);
  if (handler_) handler_->on_router_gone();
}

void Helm::send(Report report) {
  std::shared_ptr<DriveStream> stream;
  {
    std::lock_guard lock(current_mutex_);
    stream = current_;
  }
  if (stream) stream->send(std::move(report));
}

void Helm::stop() {
  {
    std::lock_guard lock(handler_mutex_);
    handler_ = nullptr;
  }
  // The last reports of a drained worker must reach its router.
  if (const auto stream = exchange_current(nullptr))
    stream->end_after_queue(Error{Code::unavailable, "the worker is stopping", {}});
}

class Service final : public DriveService, private v1::Worker::CallbackService {
 public:
  explicit Service(DriveHandler& handler) : helm_(std::make_shared<Helm>(handler)) {}
  ~Service() override { helm_->stop(); }
  grpc::Service& grpc() override { return *this; }
  void send(Report report) override { helm_->send(std::move(report)); }
  void stop() override { helm_->stop(); }

 private:
  grpc::ServerBidiReactor<v1::EditBatch, v1::Report>* Drive(
      grpc::CallbackServerContext* context) override {
    const auto stream = std::make_shared<DriveStream>(context, helm_);
    stream->begin(stream);
    return stream.get();
  }

  const std::shared_ptr<Helm> helm_;
};

}  // namespace

std::unique_ptr<DriveService> make_drive_service(DriveHandler& handler) {
  return std::make_unique<Service>(handler);
}

}  // namespace fathom
