// What does a leader tell its followers? A message is a fixed header, then as many bytes as it
// says: who we are, a block that was imported, the rows of a step, or goodbye. Sent by broadcast,
// so every rank of the group takes part in each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/batch.h"

namespace fathom {

enum class GroupMessage : uint32_t { hello = 1, import_block = 2, step = 3, leave = 4 };

struct GroupHeader {
  GroupMessage kind = GroupMessage::leave;
  BlockIndex block = 0;  // of import_block
  uint64_t bytes = 0;    // that follow
};

// The sequences of one step and the rows whose logits are wanted. Spans refer to the decoded bytes.
struct StepBatch {
  std::vector<BatchSequence> sequences;
  std::vector<int32_t> logit_rows;  // flat rows
};

void encode_step(const StepBatch& step, std::vector<std::byte>& out);
// DATA_LOSS when the bytes are no step. `bytes` must be 4-byte aligned and outlive `out`.
Status decode_step(std::span<const std::byte> bytes, StepBatch& out);

}  // namespace fathom
