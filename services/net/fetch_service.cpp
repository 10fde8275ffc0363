#include <xxhash.h>

#include <mutex>
#include <set>
#include <shared_mutex>

#include "net/fetch.h"
#include "net/grpc_status.h"
#include "net/timer_loop.h"
#include "net/wire_drive.h"
#include "worker.grpc.pb.h"

#include <grpcpp/support/server_callback.h>

namespace fathom {
namespace {

class BlockStream;

// What the calls of one service share. The source is reached through here, so that stop() can take
// it away.
class Sending {
 public:
  Sending(BlockSource& source, BlockFault block_fault)
      : fault(std::move(block_fault)), source_(&source) {}

  // While it is held, source() stays what it is and stop() waits.
  std::shared_lock<std::shared_mutex> hold() { return std::shared_lock(source_mutex_); }
  BlockSource* source() { return source_; }
  // For copies after a pause: ready() must not copy on the thread of a step.
  void post(std::function<void()> task) { loop_.post(std::move(task)); }
  void add(std::shared_ptr<BlockStream> stream) {
    std::lock_guard lock(streams_mutex_);
    streams_.insert(std::move(stream));
  }
  void remove(const std::shared_ptr<BlockStream>& stream) {
    std::lock_guard lock(streams_mutex_);
    streams_.erase(stream);
  }
  void stop();
  void stop_loop() { loop_.stop(); }  // once no call is left

  const BlockFault fault;

 private:
  std::shared_mutex source_mutex_;
  BlockSource* source_;
  std::mutex streams_mutex_;
  std::set<std::shared_ptr<BlockStream>> streams_;
  TimerLoop loop_;
};

// One Fetch: sends the blocks that are complete, one write at a time, and waits for the next.
class BlockStream final : public grpc::ServerWriteReactor<v1::Block>,
                          public std::enable_shared_from_this<BlockStream> {
 public:
  BlockStream(grpc::CallbackServerContext* context, std::shared_ptr<Sending> sending)
      : context_(context), sending_(std::move(sending)) {}

  void begin(const v1::FetchRequest& in);
  void end(const Status& status) {
    std::lock_guard lock(mutex_);
    end_locked(status);
  }
  std::shared_ptr<void> take_watch() {
    std::lock_guard lock(mutex_);
    return std::move(watch_);
  }

 private:
  void ready(int32_t complete, bool all);
  void pump();
  bool load(int32_t ordinal);  // block_ with its checksum
  void end_locked(const Status& status);
  void OnWriteDone(bool ok) override;
  void OnCancel() override { end(Error{Code::cancelled, "the asker left", {}}); }
  void OnDone() override;

  grpc::CallbackServerContext* const context_;
  const std::shared_ptr<Sending> sending_;
  SeqId seq_;
  v1::Block block_;  // touched by whoever set busy_

  std::mutex mutex_;
  std::shared_ptr<void> watch_;
  int32_t complete_ = 0;  // leading blocks that can be read
  int32_t next_ = 0;      // the block to send
  bool all_ = false;      // complete_ will not grow
  bool busy_ = false;     // a copy or a write is under way
  bool ending_ = false;
  Status status_;
};

void BlockStream::begin(const v1::FetchRequest& in) {
  const auto hold = sending_->hold();
  sending_->add(shared_from_this());
  const auto request = wire::from_wire(in);
  if (!request.ok()) return end(request.error());
  if (!sending_->source()) return end(Error{Code::unavailable, "the worker is stopping", {}});
  seq_ = request->ticket.seq;
  const std::weak_ptr<BlockStream> weak = weak_from_this();
  BlockSource::Watcher watcher;
  watcher.ready = [weak](int32_t complete, bool all) {
    if (const auto stream = weak.lock()) stream->ready(complete, all);
  };
  watcher.gone = [weak](const Error& why) {
    if (const auto stream = weak.lock()) stream->end(why);
  };
  auto watch = sending_->source()->watch(request->ticket, request->tokens, std::move(watcher));
  std::lock_guard lock(mutex_);
  if (!ending_) watch_.swap(watch);
}

void BlockStream::ready(int32_t complete, bool all) {
  std::lock_guard lock(mutex_);
  complete_ = std::max(complete_, complete);
  all_ = all_ || all;
  if (busy_ || ending_) return;
  busy_ = true;
  sending_->post([self = shared_from_this()] { self->pump(); });
}

// With busy_ set: sends the next block, ends, or goes to rest.
void BlockStream::pump() {
  int32_t ordinal = 0;
  {
    std::lock_guard lock(mutex_);
    if (!ending_ && next_ < complete_) {
      ordinal = next_++;
    } else {
      busy_ = false;
      if (ending_) return Finish(wire::to_grpc(status_, *context_));
      if (all_) end_locked({});
      return;
    }
  }
  const bool loaded = load(ordinal);
  const bool cut_here =
      loaded && sending_->fault &&
      !sending_->fault(ordinal, std::as_writable_bytes(std::span(*block_.mutable_data())));
  std::lock_guard lock(mutex_);
  if (loaded && !cut_here && !ending_) return StartWrite(&block_);
  busy_ = false;
  if (ending_) return Finish(wire::to_grpc(status_, *context_));
  if (cut_here) return end_locked({});
  end_locked(Error{Code::unavailable, "the sequence was dropped while it was read", "seq"});
}

bool BlockStream::load(int32_t ordinal) {
  const auto hold = sending_->hold();
  BlockSource* source = sending_->source();
  if (!source) return false;
  std::string& data = *block_.mutable_data();
  data.resize(static_cast<size_t>(source->block_bytes()));
  if (!source->copy(seq_, ordinal, std::as_writable_bytes(std::span(data)))) return false;
  block_.set_ordinal(ordinal);
  block_.set_checksum(XXH3_64bits(data.data(), data.size()));
  return true;
}

void BlockStream::end_locked(const Status& status) {
  if (ending_) return;
  ending_ = true;
  status_ = status;
  if (!busy_) Finish(wire::to_grpc(status_, *context_));
}

void BlockStream::OnWriteDone(bool ok) {
  if (!ok) end(Error{Code::unavailable, "the asker is gone", {}});
  pump();
}

void BlockStream::OnDone() {
  const auto self = shared_from_this();
  {
    const auto hold = sending_->hold();
    take_watch().reset();
  }
  sending_->remove(self);
}

void Sending::stop() {
  {
    std::unique_lock lock(source_mutex_);
    source_ = nullptr;
  }
  std::set<std::shared_ptr<BlockStream>> streams;
  {
    std::lock_guard lock(streams_mutex_);
    streams = streams_;
  }
  for (const auto& stream : streams) {
    stream->end(Error{Code::unavailable, "the worker is stopping", {}});
    stream->take_watch().reset();
  }
  std::unique_lock lock(
      source_mutex_);  // a stream that was just letting go of its watch has done so
}

class Service final : public FetchService, private v1::Blocks::CallbackService {
 public:
  Service(BlockSource& source, BlockFault fault)
      : sending_(std::make_shared<Sending>(source, std::move(fault))) {}
  ~Service() override {
    sending_->stop();
    sending_->stop_loop();  // here, so that no task of the loop can be the last to let go of it
  }
  grpc::Service& grpc() override { return *this; }
  void stop() override { sending_->stop(); }

 private:
  grpc::ServerWriteReactor<v1::Block>* Fetch(grpc::CallbackServerContext* context,
                                             const v1::FetchRequest* request) override {
    const auto stream = std::make_shared<BlockStream>(context, sending_);
    stream->begin(*request);
    return stream.get();  // kept alive by `sending_` until OnDone
  }

  const std::shared_ptr<Sending> sending_;
};

}  // namespace

std::unique_ptr<FetchService> make_fetch_service(BlockSource& source, BlockFault fault) {
  return std::make_unique<Service>(source, std::move(fault));
}

}  // namespace fathom
