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

// What one sequence of a step is to the drafter.
struct DraftOrder {
  int32_t draws = 0;        // tokens it may draw: 0, or 1 + the drafts it verifies
  int32_t next_token = -1;  // behind its last one, where that is not drawn
  int32_t draft_next = -1;  // as in StepRow
};

// The sequences of one step and the rows whose logits are wanted. Spans refer to the decoded bytes.
struct StepBatch {
  std::vector<BatchSequence> sequences;
  // Of each sequence the draw of the step before that is its first token, -1 where that is known.
  std::vector<int32_t> fed;
  int32_t drawn = 0;                 // by the step before, where one of them feeds; else 0
  std::vector<int32_t> logit_rows;   // flat rows
  std::vector<DraftOrder> drafting;  // one a sequence, or none: the drafter rests
};

void encode_step(const StepBatch& step, std::vector<std::byte>& out);
// DATA_LOSS when the bytes are no step. `bytes` must be 4-byte aligned and outlive `out`.
Status decode_step(std::span<const std::byte> bytes, StepBatch& out);

}  // namespace fathom
