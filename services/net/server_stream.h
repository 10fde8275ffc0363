// How does the answering side of a long-lived stream behave? It reads all the time, writes one
// message at a time with all that was queued meanwhile, and finishes exactly once. Derived classes
// hold the queue (under mutex_) and turn it into messages. Private to net/.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <mutex>
#include <optional>

#include "net/grpc_status.h"
#include "net/reused_message.h"

namespace fathom::wire {

template <class In, class Out>
class ServerStream : public grpc::ServerBidiReactor<In, Out> {
 public:
  explicit ServerStream(grpc::CallbackServerContext* context) : context_(context) {}

  // `self` keeps the stream alive until on_done returned.
  void begin(std::shared_ptr<ServerStream> self) {
    self_ = std::move(self);
    this->StartRead(&in_.fresh());
  }
  // Finishes with this status, after the write under way.
  void end(const Status& status) {
    std::lock_guard lock(mutex_);
    end_locked(status);
  }
  // The same once everything queued so far was written.
  void end_after_queue(const Status& status) {
    std::lock_guard lock(mutex_);
    last_words_ = status;
    poke_locked();
    if (!writing_) end_locked(status);
  }

 protected:
  // With mutex_ held: moves what is queued into the message; false when there is nothing.
  virtual bool fill(Out& out) = 0;
  virtual Status on_message(const In& in) = 0;
  virtual void on_done() = 0;

  void poke_locked() {
    if (writing_ || ending_) return;
    Out& out = out_.fresh();
    if (!fill(out)) return;
    writing_ = true;
    this->StartWrite(&out);
  }
  // For a peer that does not read: breaks the stream even though a write is under way.
  void cut_locked(const Error& why) {
    end_locked(why);
    if (!finished_) context_->TryCancel();
  }
  // Tells the peer that it was accepted, before there is anything to write.
  void accept_locked() {
    if (ending_ || writing_) return;
    context_->AddInitialMetadata(kAcceptedKey, "1");
    this->StartSendInitialMetadata();
  }

  std::mutex mutex_;
  bool ending_ = false;

 private:
  void end_locked(const Status& status) {
    if (ending_) return;
    ending_ = true;
    status_ = status;
    finish_when_idle_locked();
  }
  void finish_when_idle_locked() {
    if (!ending_ || writing_ || finished_) return;
    finished_ = true;
    this->Finish(to_grpc(status_, *context_));
  }
  void OnReadDone(bool ok) override {
    if (!ok) return end({});
    if (const Status status = on_message(in_.get()); !status.ok()) return end(status);
    {
      // No reads once the end has begun: a finished call may be gone by the time they would be
      // answered.
      std::lock_guard lock(mutex_);
      if (ending_) return;
    }
    this->StartRead(&in_.fresh());
  }
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) end_locked(Error{Code::unavailable, "the peer is gone", {}});
    finish_when_idle_locked();
    poke_locked();
    if (last_words_ && !writing_) end_locked(*last_words_);
  }
  void OnCancel() override { end(Error{Code::cancelled, "the peer left", {}}); }
  void OnDone() override {
    const std::shared_ptr<ServerStream> self = std::move(self_);
    on_done();
  }

  grpc::CallbackServerContext* const context_;
  std::shared_ptr<ServerStream> self_;
  ReusedMessage<In> in_;
  ReusedMessage<Out> out_;
  bool writing_ = false;
  bool finished_ = false;
  Status status_;
  std::optional<Status> last_words_;  // how to end when nothing is queued any more
};

}  // namespace fathom::wire
