#include <grpcpp/support/client_callback.h>
#include <xxhash.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <set>

#include "net/fetch.h"
#include "net/grpc_channel.h"
#include "net/grpc_status.h"
#include "net/timer_loop.h"
#include "net/wire_drive.h"
#include "worker.grpc.pb.h"

namespace fathom {
namespace {

constexpr size_t kChannelsMax =
    256;  // peers whose connection is kept; more than a cell has workers

class Reading;

// What the calls of one fetcher share.
struct Receiving {
  Receiving(int64_t bytes, int32_t tokens, Duration wait)
      : block_bytes(bytes), block_tokens(tokens), patience(wait) {}
  std::shared_ptr<grpc::Channel> channel(const std::string& address);
  void forget_channel(const std::string& address) {
    std::lock_guard lock(mutex);
    channels.erase(address);
  }

  const int64_t block_bytes;
  const int32_t block_tokens;
  const Duration patience;
  std::mutex mutex;
  std::condition_variable all_done;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels;
  std::set<std::shared_ptr<Reading>> calls;  // until their OnDone
  TimerLoop loop;
};

std::shared_ptr<grpc::Channel> Receiving::channel(const std::string& address) {
  std::lock_guard lock(mutex);
  if (channels.size() >= kChannelsMax) channels.clear();  // calls under way keep theirs
  auto& channel = channels[address];
  if (!channel) channel = wire::open_channel(address);
  return channel;
}

// One fetch. callback_mutex_ is held while a callback runs, so detach() returns only when none
// does; it is recursive because a callback may destroy its own FetchCall.
class Reading final : public grpc::ClientReadReactor<v1::Block>,
                      public std::enable_shared_from_this<Reading> {
 public:
  Reading(Receiving& shared, const Ticket& ticket, int32_t tokens,
          std::function<void(int32_t, std::span<const std::byte>)> block,
          std::function<void(Status)> done)
      : shared_(shared),
        address_(ticket.address),
        blocks_(blocks_for(tokens, shared.block_tokens)),
        stub_(v1::Blocks::NewStub(shared.channel(ticket.address))),
        block_callback_(std::move(block)),
        done_callback_(std::move(done)) {
    wire::to_wire({ticket, tokens}, request_);
  }

  void begin() {
    stub_->async()->Fetch(&context_, &request_, this);
    arm();
    StartRead(&block_);
    StartCall();
  }
  void detach() {
    {
      std::lock_guard lock(callback_mutex_);
      detached_ = true;
    }
    context_.TryCancel();
  }
  void cancel(Error why) {
    {
      std::lock_guard lock(callback_mutex_);
      if (!fault_) fault_ = std::move(why);
    }
    context_.TryCancel();
  }

 private:
  // Looks every `patience` whether a block has come since; cheaper than a timer per block.
  void arm() {
    shared_.loop.after(shared_.patience, [weak = weak_from_this()] {
      if (const auto reading = weak.lock()) reading->look();
    });
  }
  void look() {
    bool stuck = false;
    {
      std::lock_guard lock(callback_mutex_);
      if (ended_) return;
      stuck = next_ == seen_;
      seen_ = next_;
    }
    if (!stuck) return arm();
    cancel({Code::deadline_exceeded, "no block came from " + address_ + " in time", {}});
  }

  std::optional<Error> fault_of_block() const;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  Status outcome(const grpc::Status& status) const;

  Receiving& shared_;  // outlives its calls: the fetcher waits for them
  const std::string address_;
  const int32_t blocks_;
  const std::unique_ptr<v1::Blocks::Stub> stub_;
  grpc::ClientContext context_;
  v1::FetchRequest request_;
  v1::Block block_;

  std::recursive_mutex callback_mutex_;
  bool detached_ = false;
  bool ended_ = false;
  int32_t next_ = 0;   // the block to come
  int32_t seen_ = -1;  // next_ when the patience timer last looked
  std::optional<Error> fault_;
  std::function<void(int32_t, std::span<const std::byte>)> block_callback_;
  std::function<void(Status)> done_callback_;
};

std::optional<Error> Reading::fault_of_block() const {
  const std::string& data = block_.data();
  const std::string which = "block " + std::to_string(next_) + " from " + address_;
  if (block_.ordinal() != next_ || next_ >= blocks_)
    return Error{Code::data_loss, which + " is numbered " + std::to_string(block_.ordinal()),
                 "ordinal"};
  if (static_cast<int64_t>(data.size()) != shared_.block_bytes) {
    return Error{Code::data_loss, which + " has " + std::to_string(data.size()) + " bytes", "data"};
  }
  if (XXH3_64bits(data.data(), data.size()) != block_.checksum())
    return Error{Code::data_loss, which + " does not match its checksum", "checksum"};
  return {};
}

void Reading::OnReadDone(bool ok) {
  if (!ok) return;  // OnDone tells why
  std::unique_lock lock(callback_mutex_);
  if (detached_ || fault_) return;
  fault_ = fault_of_block();
  if (fault_) {
    lock.unlock();
    context_.TryCancel();
    return;
  }
  const int32_t ordinal = next_++;
  if (block_callback_) block_callback_(ordinal, std::as_bytes(std::span(block_.data())));
  lock.unlock();
  StartRead(&block_);
}

Status Reading::outcome(const grpc::Status& status) const {
  if (fault_) return *fault_;
  if (status.ok() && next_ == blocks_) return {};
  if (status.ok()) {
    return Error{
        Code::data_loss,
        address_ + " sent " + std::to_string(next_) + " of " + std::to_string(blocks_) + " blocks",
        "ordinal"};
  }
  Error error = wire::from_grpc(status, context_);
  // How a stream breaks depends on the moment; to us each of these is a peer that is gone.
  if (error.code == Code::cancelled || error.code == Code::internal || error.code == Code::unknown)
    error.code = Code::unavailable;
  return error;
}

void Reading::OnDone(const grpc::Status& status) {
  const auto self = shared_from_this();
  {
    std::lock_guard lock(callback_mutex_);
    ended_ = true;
    const Status result = outcome(status);
    // A connection that failed waits before it tries again; the next fetch should not.
    if (!result.ok() && result.error().code != Code::permission_denied)
      shared_.forget_channel(address_);
    if (!detached_ && done_callback_) done_callback_(result);
    block_callback_ = nullptr;
    done_callback_ = nullptr;
  }
  std::lock_guard lock(shared_.mutex);
  shared_.calls.erase(self);
  if (shared_.calls.empty()) shared_.all_done.notify_all();
}

class Call final : public FetchCall {
 public:
  explicit Call(std::shared_ptr<Reading> reading) : reading_(std::move(reading)) {}
  ~Call() override { reading_->detach(); }

 private:
  const std::shared_ptr<Reading> reading_;
};

class GrpcFetcher final : public Fetcher {
 public:
  GrpcFetcher(int64_t block_bytes, int32_t block_tokens, Duration patience)
      : shared_(block_bytes, block_tokens, patience) {
    CHECK(block_bytes > 0 && block_tokens > 0);
  }
  ~GrpcFetcher() override {
    shared_.loop.stop();
    std::unique_lock lock(shared_.mutex);
    const auto calls = shared_.calls;
    lock.unlock();
    for (const auto& call : calls) call->cancel({Code::cancelled, "the fetcher is gone", {}});
    lock.lock();
    shared_.all_done.wait(lock, [this] { return shared_.calls.empty(); });
  }

  std::unique_ptr<FetchCall> fetch(const Ticket& ticket, int32_t tokens,
                                   std::function<void(int32_t, std::span<const std::byte>)> block,
                                   std::function<void(Status)> done) override {
    auto reading =
        std::make_shared<Reading>(shared_, ticket, tokens, std::move(block), std::move(done));
    {
      std::lock_guard lock(shared_.mutex);
      shared_.calls.insert(reading);
    }
    reading->begin();
    return std::make_unique<Call>(std::move(reading));
  }

 private:
  Receiving shared_;
};

}  // namespace

std::unique_ptr<Fetcher> make_fetcher(int64_t block_bytes, int32_t block_tokens,
                                      Duration patience) {
  return std::make_unique<GrpcFetcher>(block_bytes, block_tokens, patience);
}

}  // namespace fathom
