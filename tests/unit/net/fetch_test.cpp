// Do blocks arrive whole, or not at all with the reason, over a real socket?
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <map>

#include "mailbox.h"
#include "net/fetch.h"
#include "net/grpc_server.h"

namespace fathom {
namespace {

constexpr int64_t kBlockBytes = 4096;
constexpr int32_t kBlockTokens = 16;
constexpr uint64_t kKey = 0xfeed;
constexpr SeqId kSeq{42};

std::byte byte_at(int32_t ordinal, size_t i) {
  return static_cast<std::byte>((static_cast<size_t>(ordinal) * 131 + i * 7) & 0xff);
}

// One sequence whose blocks become complete when the test says so.
class Sequence final : public BlockSource {
 public:
  std::shared_ptr<void> watch(const Ticket& ticket, int32_t, Watcher watcher) override {
    if (ticket.seq != kSeq)
      watcher.gone({Code::not_found, "no such sequence", "seq"});
    else if (ticket.key != kKey)
      watcher.gone({Code::permission_denied, "not your sequence", "key"});
    else {
      std::lock_guard lock(mutex_);
      watcher_ = watcher;
      watcher.ready(complete_, all_);  // under our lock, as a worker would
    }
    watched.put(true);
    return std::shared_ptr<void>(nullptr, [this](void*) { ended.put(true); });
  }
  bool copy(SeqId, int32_t ordinal, std::span<std::byte> out) const override {
    std::lock_guard lock(mutex_);
    if (dropped_) return false;
    for (size_t i = 0; i < out.size(); ++i) out[i] = byte_at(ordinal, i);
    return true;
  }
  int64_t block_bytes() const override { return kBlockBytes; }

  void complete(int32_t blocks, bool all) {
    std::lock_guard lock(mutex_);
    complete_ = blocks;
    all_ = all;
    if (watcher_.ready) watcher_.ready(blocks, all);
  }
  void drop() {
    std::lock_guard lock(mutex_);
    dropped_ = true;
    if (watcher_.gone) watcher_.gone({Code::unavailable, "dropped", "seq"});
  }
  Mailbox<bool> watched, ended;

 private:
  mutable std::mutex mutex_;
  Watcher watcher_;
  int32_t complete_ = 0;
  bool all_ = false;
  bool dropped_ = false;
};

struct Sender {
  explicit Sender(BlockFault fault = {}) : service(make_fetch_service(sequence, std::move(fault))) {
    auto started = start_grpc_server({.services = {&service->grpc()}});
    EXPECT_TRUE(started.ok());
    server = std::move(started).value();
  }
  ~Sender() {
    service->stop();
    server->stop({});
  }
  Ticket ticket() const { return {server->address(), 1, kSeq, kKey}; }
  Sequence sequence;
  std::unique_ptr<FetchService> service;
  std::unique_ptr<GrpcServer> server;
};

struct Receiver {
  explicit Receiver(Duration patience = Duration::seconds(60))
      : fetcher(make_fetcher(kBlockBytes, kBlockTokens, patience)) {}
  void start(const Ticket& ticket, int32_t blocks) {
    call = fetcher->fetch(
        ticket, blocks * kBlockTokens,
        [this](int32_t ordinal, std::span<const std::byte> bytes) {
          for (size_t i = 0; i < bytes.size(); ++i)
            if (bytes[i] != byte_at(ordinal, i)) wrong_bytes = true;
          ordinals.put(ordinal);
        },
        [this](const Status& status) {
          ends.put(status.ok() ? Error{Code::ok, "", ""} : status.error());
        });
  }
  std::unique_ptr<Fetcher> fetcher;
  std::unique_ptr<FetchCall> call;
  std::atomic<bool> wrong_bytes = false;
  Mailbox<int32_t> ordinals;
  Mailbox<Error> ends;
};

TEST(Fetch, blocks_arrive_in_order_while_later_ones_are_still_computed) {
  Sender sender;
  Receiver receiver;
  sender.sequence.complete(2, false);
  receiver.start(sender.ticket(), 5);
  EXPECT_EQ(receiver.ordinals.take(), 0);
  EXPECT_EQ(receiver.ordinals.take(), 1);
  sender.sequence.complete(4, false);
  EXPECT_EQ(receiver.ordinals.take(), 2);
  EXPECT_EQ(receiver.ordinals.take(), 3);
  EXPECT_TRUE(receiver.ends.empty());
  sender.sequence.complete(5, true);
  EXPECT_EQ(receiver.ordinals.take(), 4);
  EXPECT_EQ(receiver.ends.take().code, Code::ok);
  EXPECT_FALSE(receiver.wrong_bytes);
  EXPECT_TRUE(sender.sequence.ended.take());
}

TEST(Fetch, flipped_byte_is_data_loss_and_the_block_is_not_delivered) {
  Sender sender([](int32_t ordinal, std::span<std::byte> bytes) {
    if (ordinal == 1) bytes[1000] ^= std::byte{1};
    return true;
  });
  sender.sequence.complete(3, true);
  Receiver receiver;
  receiver.start(sender.ticket(), 3);
  const Error end = receiver.ends.take();
  EXPECT_EQ(end.code, Code::data_loss);
  EXPECT_EQ(end.field, "checksum");
  EXPECT_EQ(receiver.ordinals.take(), 0);
  EXPECT_TRUE(receiver.ordinals.empty());
}

TEST(Fetch, short_stream_is_data_loss) {
  Sender sender([](int32_t ordinal, std::span<std::byte>) { return ordinal < 2; });
  sender.sequence.complete(3, true);
  Receiver receiver;
  receiver.start(sender.ticket(), 3);
  EXPECT_EQ(receiver.ends.take().code, Code::data_loss);
}

TEST(Fetch, more_blocks_than_asked_for_are_data_loss) {
  Sender sender;
  sender.sequence.complete(3, true);
  Receiver receiver;
  receiver.start(sender.ticket(), 2);
  EXPECT_EQ(receiver.ends.take().code, Code::data_loss);
}

TEST(Fetch, unknown_sequence_is_not_found_naming_seq) {
  Sender sender;
  Receiver receiver;
  Ticket ticket = sender.ticket();
  ticket.seq = SeqId{1};
  receiver.start(ticket, 1);
  const Error end = receiver.ends.take();
  EXPECT_EQ(end.code, Code::not_found);
  EXPECT_EQ(end.field, "seq");
}

TEST(Fetch, wrong_key_is_permission_denied_naming_key) {
  Sender sender;
  Receiver receiver;
  Ticket ticket = sender.ticket();
  ticket.key ^= 1;
  receiver.start(ticket, 1);
  const Error end = receiver.ends.take();
  EXPECT_EQ(end.code, Code::permission_denied);
  EXPECT_EQ(end.field, "key");
}

TEST(Fetch, peer_that_stops_in_the_middle_is_unavailable) {
  auto sender = std::make_unique<Sender>();
  sender->sequence.complete(1, false);
  Receiver receiver;
  receiver.start(sender->ticket(), 3);
  EXPECT_EQ(receiver.ordinals.take(), 0);
  sender.reset();
  EXPECT_EQ(receiver.ends.take().code, Code::unavailable);
}

TEST(Fetch, peer_that_was_never_there_is_unavailable) {
  Ticket ticket;
  {
    Sender sender;
    ticket = sender.ticket();
  }
  Receiver receiver;
  receiver.start(ticket, 1);
  EXPECT_EQ(receiver.ends.take().code, Code::unavailable);
}

TEST(Fetch, dropped_sequence_ends_the_fetch) {
  Sender sender;
  sender.sequence.complete(1, false);
  Receiver receiver;
  receiver.start(sender.ticket(), 3);
  EXPECT_EQ(receiver.ordinals.take(), 0);
  sender.sequence.drop();
  EXPECT_EQ(receiver.ends.take().code, Code::unavailable);
}

TEST(Fetch, no_progress_within_patience_is_deadline_exceeded) {
  Sender sender;
  Receiver receiver(Duration::ms(20));
  receiver.start(sender.ticket(), 1);
  EXPECT_EQ(receiver.ends.take().code, Code::deadline_exceeded);
}

TEST(Fetch, destroyed_call_cancels_at_the_peer_and_calls_back_no_more) {
  Sender sender;
  Receiver receiver;
  receiver.start(sender.ticket(), 2);
  EXPECT_TRUE(sender.sequence.watched.take());
  receiver.call.reset();
  EXPECT_TRUE(sender.sequence.ended.take());
  EXPECT_TRUE(receiver.ends.empty());
}

TEST(Fetch, call_may_be_destroyed_from_inside_its_callbacks) {
  Sender sender;
  sender.sequence.complete(3, true);
  const auto fetcher = make_fetcher(kBlockBytes, kBlockTokens, Duration::seconds(60));
  std::mutex mutex;
  std::unique_ptr<FetchCall> call;
  Mailbox<bool> destroyed;
  {
    std::lock_guard lock(mutex);
    call = fetcher->fetch(
        sender.ticket(), 3 * kBlockTokens,
        [&](int32_t, std::span<const std::byte>) {
          std::lock_guard inner(mutex);
          call.reset();
          destroyed.put(true);
        },
        [](const Status&) { ADD_FAILURE() << "called back after it was destroyed"; });
  }
  EXPECT_TRUE(destroyed.take());
  EXPECT_TRUE(sender.sequence.ended.take());
}

TEST(Fetch, fetcher_that_is_destroyed_ends_its_calls) {
  Sender sender;
  Receiver receiver;
  receiver.start(sender.ticket(), 2);
  receiver.fetcher.reset();
  EXPECT_EQ(receiver.ends.take().code, Code::cancelled);
}

TEST(Fetch, many_at_once_each_get_their_blocks) {
  Sender sender;
  sender.sequence.complete(8, true);
  const auto fetcher = make_fetcher(kBlockBytes, kBlockTokens, Duration::seconds(60));
  Mailbox<std::string> ends;
  std::atomic<int> blocks = 0;
  std::vector<std::unique_ptr<FetchCall>> calls;
  for (int i = 0; i < 32; ++i)
    calls.push_back(fetcher->fetch(
        sender.ticket(), 8 * kBlockTokens, [&](int32_t, std::span<const std::byte>) { ++blocks; },
        [&](const Status& status) { ends.put(status.ok() ? "ok" : status.error().text()); }));
  for (int i = 0; i < 32; ++i) EXPECT_EQ(ends.take(), "ok");
  EXPECT_EQ(blocks, 32 * 8);
}

}  // namespace
}  // namespace fathom
