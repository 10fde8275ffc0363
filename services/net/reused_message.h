// How does a stream avoid an allocation per token? Its messages live in an arena whose first block,
// large enough for a usual step, is kept between messages. Private to net/.
#pragma once

#include <google/protobuf/arena.h>

#include <memory>

namespace fathom::wire {

template <class Message>
class ReusedMessage {
 public:
  ReusedMessage() { fresh(); }
  // An empty message in place of the last one.
  Message& fresh() {
    arena_.Reset();
    message_ = google::protobuf::Arena::CreateMessage<Message>(&arena_);
    return *message_;
  }
  Message& get() { return *message_; }

 private:
  static constexpr size_t kBlockBytes = size_t{64} << 10;  // some 500 rows of one token
  std::unique_ptr<char[]> block_{new char[kBlockBytes]};
  google::protobuf::Arena arena_{block_.get(), kBlockBytes};
  Message* message_ = nullptr;
};

}  // namespace fathom::wire
