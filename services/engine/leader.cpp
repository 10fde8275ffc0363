#include "engine/leader.h"

namespace fathom {

Result<GroupHeader> exchange(Comm& comm, GroupHeader header, std::vector<std::byte>& bytes) {
  FATHOM_CHECKED(comm.broadcast(std::as_writable_bytes(std::span(&header, 1)), 0));
  if (bytes.size() < header.bytes) bytes.resize(header.bytes);
  if (header.bytes > 0) FATHOM_CHECKED(comm.broadcast(std::span(bytes).first(header.bytes), 0));
  return header;
}

Status FollowerFeed::import_block(BlockIndex block, std::span<const std::byte> in) {
  const std::scoped_lock lock(mutex_);
  FATHOM_CHECKED(ranks_.write_block(block, in));
  if (!alone_) imported_.insert(block);
  return {};
}

// No step reads these blocks before the followers have them: they go out ahead of the next step.
Status FollowerFeed::prepare_imports() {
  const std::scoped_lock lock(mutex_);
  for (const BlockIndex block : imported_) {
    if (count_ == messages_.size()) messages_.emplace_back();
    Message& m = messages_[count_++];
    m.bytes.resize(static_cast<size_t>(ranks_.layout().block_bytes));
    m.header = {GroupMessage::import_block, block, m.bytes.size()};
    FATHOM_CHECKED(ranks_.read_block(block, m.bytes));
  }
  imported_.clear();
  return {};
}

Status FollowerFeed::prepare_step(const StepBatch& step) {
  count_ = 0;
  if (alone_) return {};
  FATHOM_CHECKED(prepare_imports());
  if (count_ == messages_.size()) messages_.emplace_back();
  Message& m = messages_[count_++];
  encode_step(step, m.bytes);
  m.header = {GroupMessage::step, 0, m.bytes.size()};
  return {};
}

void FollowerFeed::prepare_leave() {
  count_ = 0;
  if (alone_) return;
  if (messages_.empty()) messages_.emplace_back();
  messages_[count_++].header = {};
}

Status FollowerFeed::send(int32_t local) {
  std::vector<std::byte> ignored;
  for (size_t i = 0; i < count_; ++i) {
    Message& m = messages_[i];
    // Other ranks of this process take part with memory of their own and look at nothing.
    auto sent = exchange(ranks_.comm(local), m.header, local == 0 ? m.bytes : ignored);
    if (!sent.ok()) {
      ranks_.barrier().give_up();
      return sent.error();
    }
  }
  return {};
}

}  // namespace fathom
