// What must be known of a step between its beginning and its end? Whose its rows are, what each of
// them computes, and when it began. Sequences outlive the steps they are in: one that ends or is
// dropped meanwhile leaves when its last row has landed, and its blocks with it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "worker/sequence.h"

namespace fathom {

struct FlightRow {
  Sequence* sequence = nullptr;
  int32_t tokens = 0;  // without the drafts
  int32_t drafts = 0;
  bool sample = false;
};

struct Flight {
  std::vector<FlightRow> rows;  // as in the plan
  int32_t drafts_asked = 0;     // of each decode row
  // Of sequences that draws_unseen() alone, without drafts: another step may be begun before this
  // one is finished.
  bool plain = false;
  Instant began;
};

}  // namespace fathom
