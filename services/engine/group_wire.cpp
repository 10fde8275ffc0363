#include "engine/group_wire.h"

#include <cstring>

namespace fathom {
namespace {

// Everything on this wire is int32, so views into it need no copies.
static_assert(sizeof(TokenId) == 4 && sizeof(BlockIndex) == 4);

void put(std::vector<std::byte>& out, std::span<const int32_t> values) {
  const auto bytes = std::as_bytes(values);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void put(std::vector<std::byte>& out, int32_t value) { put(out, std::span(&value, 1)); }

class Words {
 public:
  explicit Words(std::span<const std::byte> bytes)
      : words_(reinterpret_cast<const int32_t*>(bytes.data()), bytes.size() / 4) {}
  bool take(int64_t count, std::span<const int32_t>& out) {
    if (count < 0 || static_cast<uint64_t>(count) > words_.size() - at_) return false;
    out = words_.subspan(at_, static_cast<size_t>(count));
    at_ += static_cast<size_t>(count);
    return true;
  }
  bool done() const { return at_ == words_.size(); }

 private:
  std::span<const int32_t> words_;
  size_t at_ = 0;
};

Error torn() { return {Code::data_loss, "the leader's step is torn", "group"}; }

}  // namespace

void encode_step(const StepBatch& step, std::vector<std::byte>& out) {
  out.clear();
  put(out, static_cast<int32_t>(step.sequences.size()));
  put(out, static_cast<int32_t>(step.logit_rows.size()));
  put(out, static_cast<int32_t>(step.drafting.size()));
  put(out, step.drawn);
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    const BatchSequence& s = step.sequences[i];
    put(out, static_cast<int32_t>(s.tokens.size()));
    put(out, static_cast<int32_t>(s.blocks.size()));
    put(out, s.position);
    put(out, s.prompt_tokens);
    put(out, step.fed[i]);
    put(out, s.tokens);
    put(out, s.blocks);
  }
  put(out, step.logit_rows);
  for (const DraftOrder& order : step.drafting) {
    put(out, order.draws);
    put(out, order.next_token);
    put(out, order.draft_next);
  }
}

Status decode_step(std::span<const std::byte> bytes, StepBatch& out) {
  out.sequences.clear();
  out.fed.clear();
  out.drafting.clear();
  Words words(bytes);
  std::span<const int32_t> head, row, part;
  if (bytes.size() % 4 != 0 || !words.take(4, head) || head[0] < 0 || head[3] < 0) return torn();
  out.drawn = head[3];
  for (int32_t i = 0; i < head[0]; ++i) {
    BatchSequence s;
    if (!words.take(5, row)) return torn();
    if (!words.take(row[0], s.tokens) || !words.take(row[1], s.blocks)) return torn();
    s.position = row[2];
    s.prompt_tokens = row[3];
    if (row[4] >= out.drawn) return torn();
    out.sequences.push_back(s);
    out.fed.push_back(row[4]);
  }
  if (!words.take(head[1], part)) return torn();
  out.logit_rows.assign(part.begin(), part.end());
  if (head[2] != 0 && head[2] != head[0]) return torn();
  for (int32_t i = 0; i < head[2]; ++i) {
    if (!words.take(3, row)) return torn();
    const DraftOrder order{.draws = row[0], .next_token = row[1], .draft_next = row[2]};
    const auto tokens = static_cast<int64_t>(out.sequences[static_cast<size_t>(i)].tokens.size());
    if (order.draws < 0 || order.draws > tokens) return torn();
    out.drafting.push_back(order);
  }
  if (!words.done()) return torn();
  return {};
}

}  // namespace fathom
