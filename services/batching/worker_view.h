// What does the router know about one worker? What it promised it (blocks, rows), what it asked of
// it (uncomputed prompt tokens) and the edits not yet sent. All of it is counted when an edit is
// written, never scraped, so a burst of placements sees its own effect.
#pragma once

#include <algorithm>
#include <cstdint>

#include "batching/account.h"
#include "batching/sequence.h"
#include "contract/drive.h"

namespace fathom {

struct WorkerView {
  WorkerView(WorkerId worker, const Welcome& said, int32_t step_token_budget)
      : id(worker), welcome(said), blocks(said.blocks), rows_max(said.rows_max) {
    if (step_token_budget <= 0) return;
    // Decode rows come first in a step's budget. On a worker that also prefills, a quarter stays
    // for prompts.
    const int32_t share =
        prefills() ? step_token_budget - step_token_budget / 4 : step_token_budget;
    rows_max = std::clamp(share, 1, said.rows_max);
  }

  WorkerId id;
  Welcome welcome;
  BlockAccount blocks;
  int32_t rows_max = 0;
  int64_t uncomputed = 0;  // tokens it was told to compute and has not
  bool draining = false;
  ByArrival sequences;       // all that hold blocks here
  ByArrival wanting;         // homes here, less than half a lease left
  bool renew_again = false;  // something changed that may satisfy or need a renewal
  Edits edits;

  // silence.cpp: since when has it said nothing that was due?
  bool look_again = true;  // news came or edits went: `owes` may be another
  bool owes = false;       // some sequence here waits for its next step
  Instant silent_since{0};
  Instant suspected = kNever;  // silent for too long at the first look
  int64_t longest_step_us = 0;
  int32_t stalls = 0;  // times this process was given up before

  bool prefills() const { return welcome.role != Role::decode; }
  bool decodes() const { return welcome.role != Role::prefill; }
  int32_t rows() const { return static_cast<int32_t>(sequences.size()); }
  int32_t block_tokens() const { return welcome.kv.block_tokens; }
  // The longest sequence it could hold alone.
  int32_t longest() const {
    const int64_t held = int64_t{welcome.blocks} * block_tokens();
    return static_cast<int32_t>(std::min<int64_t>(welcome.context_max, held));
  }
};

}  // namespace fathom
