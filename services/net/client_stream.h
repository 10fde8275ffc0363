// How does the calling side of a long-lived stream behave? It reads all the time, writes one
// message at a time with all that was queued meanwhile, and ends exactly once, whoever ends it.
// Derived classes hold the queue (under mutex_) and turn it into messages. Private to net/.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_callback.h>

#include <memory>
#include <mutex>
#include <optional>

#include "net/grpc_status.h"
#include "net/reused_message.h"

namespace fathom::wire {

template <class Out, class In>
class ClientStream : public grpc::ClientBidiReactor<Out, In> {
 public:
  // `bind` starts the call on the stub with this reactor; `self` keeps the stream alive until
  // on_end returned.
  template <class Bind>
  void begin(std::shared_ptr<ClientStream> self, Bind bind) {
    self_ = std::move(self);
    bind(&context_, this);
    this->AddHold();  // until close() or the end of reading: writes start outside of reactions
    this->StartRead(&in_.fresh());
    this->StartCall();
    poke();
  }

  // Ends the stream with our own reason; on_end follows.
  void close(const Error& why) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
      closed_ = true;
      why_ = why;
    }
    context_.TryCancel();
    this->RemoveHold();
  }

 protected:
  // With mutex_ held: moves what is queued into the message; false when there is nothing.
  virtual bool fill(Out& out) = 0;
  virtual Status on_message(const In& in) = 0;
  virtual void on_open() {}  // the peer accepted the stream; may run beside the first on_message
  virtual void on_end(const Error& why) = 0;

  void poke() {
    std::lock_guard lock(mutex_);
    poke_locked();
  }
  void poke_locked() {
    if (writing_ || closed_) return;
    Out& out = out_.fresh();
    if (!fill(out)) return;
    writing_ = true;
    this->StartWrite(&out);
  }

  std::mutex mutex_;
  bool closed_ = false;  // no write may start

 private:
  void OnReadInitialMetadataDone(bool ok) override {
    if (ok && context_.GetServerInitialMetadata().count(kAcceptedKey) > 0) on_open();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return finish_reading();
    if (const Status status = on_message(in_.get()); !status.ok()) {
      close(status.error());
      return;
    }
    this->StartRead(&in_.fresh());
  }
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (ok) poke_locked();  // a failed write means a failed read, which ends the stream
  }
  void finish_reading() {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
      closed_ = true;
    }
    this->RemoveHold();
  }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<ClientStream> self = std::move(self_);
    if (why_)
      on_end(*why_);
    else if (status.ok())
      on_end({Code::unavailable, "the peer ended the stream", {}});
    else
      on_end(from_grpc(status, context_));
  }

  grpc::ClientContext context_;
  std::shared_ptr<ClientStream> self_;
  ReusedMessage<In> in_;
  ReusedMessage<Out> out_;
  bool writing_ = false;
  std::optional<Error> why_;
};

}  // namespace fathom::wire
