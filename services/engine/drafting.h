// How does a group guess the tokens after those it drew? Every rank runs the model's draft module
// over the positions the step computed for good (prompt positions, and of verified drafts the right
// ones), each paired with the token behind it; the last pair of a sequence gives the first guess,
// and the module run on its own result gives the next. Only rank 0 samples, so what was drawn and
// guessed is broadcast before each run. Guesses need not be right, and the module's KV may be stale
// (a cached block whose last pair had another successor, positions computed while nobody drafted):
// that costs acceptance, never a token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/group_wire.h"
#include "engine/model_ranks.h"

namespace fathom {

// Of one process; its ranks share it.
class Drafting {
 public:
  Drafting(ModelRanks& ranks, const BatchRules& rules) : ranks_(ranks), rules_(rules) {}

  // Before the ranks run the step, which outlives it. `rows`: the flat row of each sequence's first
  // token.
  void begin(const StepBatch& step, std::span<const int32_t> rows);
  // On rank 0 of the group, while it samples.
  void drew(size_t sequence, TokenId token);
  // After the forward, on every rank's thread.
  Status run(int32_t local);
  // On rank 0, when all ranks are done.
  std::vector<TokenId> take_guesses(size_t sequence);

 private:
  struct Line {
    BatchSequence sequence;
    DraftOrder order;
    int32_t first_row = 0;   // in the step's batch
    size_t first_drawn = 0;  // in drawn_
    int32_t position = 0;    // of its last pair
    int32_t last_row = 0;    // of its last pair in batch_
    bool guessing = false;
    std::vector<TokenId> guesses;
  };

  Status share(int32_t local, std::vector<TokenId>& tokens);
  void lay_out_pairs();
  void lay_out_guesses(int32_t depth);
  void add(Line& line, std::span<const TokenId> tokens, int32_t position, bool wants);
  Status run_module(int32_t local);
  std::vector<TokenId> likeliest(std::span<const float> logits, int32_t rows);

  ModelRanks& ranks_;
  BatchRules rules_;
  std::vector<Line> lines_;       // of the sequences the drafter follows
  std::vector<size_t> line_of_;   // by sequence; SIZE_MAX without
  std::vector<TokenId> drawn_;    // by line, each as many as it may draw; -1: none
  std::vector<TokenId> guessed_;  // by line: the last guess
  std::vector<TokenId> tokens_;   // of one line, while it is laid out
  int32_t deepest_ = 0;           // guesses wanted of any line
  Batch batch_;
  std::vector<int32_t> from_;
  std::vector<size_t> asking_;             // the line of each logits row of batch_
  std::unique_ptr<BatchSampler> sampler_;  // of rank 0, where logits are not in host memory
};

}  // namespace fathom
