// How does a device see a batch? Tokens, positions, slots and the block tables of its sequences,
// sent once a step for all layers. On the host they are the batch's own vectors. A batch can be
// padded to a size for which work is recorded (Device::replay): padded rows store nothing and
// attend to nothing.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "model/batch.h"
#include "model/buffer.h"

namespace fathom {

// The shape of a batch that may be replayed: decoding rows only.
struct Padding {
  int32_t rows = 0;     // at least the batch's
  int32_t context = 0;  // bound on position + 1 of every row
  int32_t logits = 0;   // at least as many as rows that want logits
};

class BatchTables {
 public:
  explicit BatchTables(Device& device) : device_(device), memory_(device) {}

  // `batch` must outlive the step. `from`: a row of what ran before for each row, or empty.
  void lay_out(const Batch& batch, std::span<const int32_t> from = {});
  // Every row a run of its own, `rows` of them. What pads the rows that want logits, and `from`, is
  // row 0.
  void lay_out_padded(const Batch& batch, const Padding& padding,
                      std::span<const int32_t> from = {});

  int32_t rows() const { return rows_; }  // padded ones included
  std::span<const TokenId> tokens() const { return {tokens_, static_cast<size_t>(rows_)}; }
  const int32_t* positions() const { return positions_; }
  const int64_t* slots() const { return slots_; }
  const int32_t* logit_rows() const { return logit_rows_; }
  const int32_t* from() const { return from_; }
  // Rows whose tokens were left on the device (Batch::feed): tokens() lacks them until they are
  // fed from where they lie, which is not said here. No rows: all are known.
  FeedTokensParams feeding() const { return feeding_; }
  // The batch's sequences by form of attention; `all` is both.
  const AttentionTables& expanded() const { return expanded_; }
  const AttentionTables& absorbed() const { return absorbed_; }
  const AttentionTables& all() const { return all_; }

 private:
  template <class T>
  size_t stage(std::span<const T> values);
  void add_runs(std::span<const AttentionSequence> sequences, bool split);
  void send();

  Device& device_;
  Buffer<std::byte> memory_;
  int64_t capacity_ = 0;
  int32_t rows_ = 0;
  const TokenId* tokens_ = nullptr;
  const int32_t* positions_ = nullptr;
  const int64_t* slots_ = nullptr;
  const int32_t* logit_rows_ = nullptr;
  const int32_t* from_ = nullptr;
  FeedTokensParams feeding_;
  AttentionTables expanded_, absorbed_, all_;
  // What is sent next; reused from step to step.
  std::vector<std::byte> staged_;
  std::vector<TokenId> step_tokens_;
  std::vector<int32_t> step_positions_, step_logit_rows_, step_from_, step_fed_;
  std::vector<int64_t> step_slots_;
  std::vector<AttentionRun> runs_;  // the expanded ones first
  std::vector<BlockIndex> blocks_;
  size_t expanded_runs_ = 0;
};

}  // namespace fathom
