// What does a worker do that obeys its edits to the letter? Holds sequences in numbered blocks of
// its own account, plans decode rows first and then prompt chunks within the step budget, runs each
// sequence only as far as its lease, waits for received KV, and reports. It throws when an edit
// asks for more than it promised to hold.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "contract/drive.h"
#include "tests/sim/world/dice.h"

namespace fathom::sim {

struct WorkerSpec {
  Role role = Role::both;
  int32_t blocks = 0;
  int32_t block_tokens = 0;
  int32_t rows_max = 0;
  int32_t context_max = 0;
  int64_t step_us = 1000;
  int64_t token_us = 50;
  int32_t drafts = 0;  // tokens a decode row may draw in one step beyond the first
};

// Rare misbehaviour, per row of a step.
struct WorkerFaults {
  double nan = 0;       // INTERNAL, the request is lost
  double flaky = 0;     // UNAVAILABLE, worth another try
  double nonsense = 0;  // a row that can not be: a gap, a repeat, more than the lease
};

class FakeWorker {
 public:
  FakeWorker(const WorkerSpec& spec, int32_t step_budget)
      : spec_(spec), step_budget_(step_budget) {}

  void apply(const Edits& edits);  // at a step boundary
  // Plans the next step. Tokens in it, 0 for nothing to do.
  int32_t begin_step();
  Report end_step(Dice& dice, const WorkerFaults& faults);
  void forget_everything();

  // What a peer sees of a handoff, at the moment of asking: positions ready, or nothing if it is
  // unknown.
  std::optional<int32_t> ready(SeqId seq, uint64_t key) const;
  const std::vector<uint64_t>& kv(SeqId seq) const { return sequences_.at(seq).kv; }

  // Receives that wait for blocks, and their progress.
  std::vector<SeqId> take_new_receives() { return std::exchange(new_receives_, {}); }
  // About edits that could not be obeyed.
  std::vector<SeqFailure> take_complaints() { return std::exchange(complaints_, {}); }
  bool receiving(SeqId seq) const;
  const Ticket& ticket(SeqId seq) const { return sequences_.at(seq).ticket; }
  int32_t wanted(SeqId seq) const { return sequences_.at(seq).receive_tokens; }
  void received(SeqId seq, const std::vector<uint64_t>& kv, int32_t upto);
  void fail(SeqId seq) { erase(seq); }

  int32_t held() const { return held_; }
  int32_t free_blocks() const { return spec_.blocks - held_; }
  size_t sequences() const { return sequences_.size(); }

 private:
  struct Sequence {
    std::vector<TokenId> tokens;
    int32_t prompt_tokens = 0;
    Sampling sampling;
    int32_t blocks = 0;
    int32_t lease = 0;
    bool handoff = false;
    bool scores = false;   // lease 0: only the prompt
    bool done = false;     // a handoff that emitted, or ended
    bool decodes = false;  // it has its tokens
    uint64_t key = 0;
    int32_t receive_tokens = 0;
    bool resident = false;
    Ticket ticket;
    std::vector<uint64_t> kv;  // of each computed position
    int32_t arrival = 0;

    int32_t computed() const { return static_cast<int32_t>(kv.size()); }
  };
  struct PlannedRow {
    SeqId seq;
    int32_t tokens = 0;
  };

  void apply_one(const Prefill& edit);
  void apply_one(const Receive& edit);
  void apply_one(const Decode& edit);
  void apply_one(const Renew& edit);
  void apply_one(const Drop& edit) { erase(edit.seq); }
  void apply_one(const Hello&) {}
  Sequence& insert(SeqId seq, int32_t blocks);
  void erase(SeqId seq);
  void hold(Sequence& sequence, int32_t blocks);
  bool may_run(const Sequence& sequence) const;
  void compute(Sequence& sequence, int32_t tokens, Row& row) const;
  void emit(Sequence& sequence, Row& row) const;
  // As if so many guesses were right: the tokens that as many steps would have drawn.
  void emit_more(Sequence& sequence, int32_t right, Row& row) const;

  WorkerSpec spec_;
  int32_t step_budget_ = 0;
  int32_t held_ = 0;
  int32_t arrivals_ = 0;
  std::map<SeqId, Sequence> sequences_;
  std::vector<PlannedRow> plan_;
  std::vector<SeqId> new_receives_;
  std::vector<SeqFailure> complaints_;
  uint64_t steps_ = 0;
};

}  // namespace fathom::sim
