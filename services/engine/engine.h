// What can one tensor-parallel group do? Run one ragged step over a paged KV pool, and move blocks
// in and out of that pool. The worker above owns sequences, leases and block tables; the engine
// knows only rows. Implementations: TpEngine (a real model), FakeEngine (a hash chain through the
// KV blocks, for tests).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "contract/drive.h"
#include "contract/sampling.h"
#include "kernels/sample.h"

namespace fathom {

// What a sampler must know about a sequence beyond its logits. Owned by the worker, updated by it
// after each emitted token; the engine only reads it during a step.
struct SamplingState {
  const Sampling* sampling = nullptr;
  int32_t emitted = 0;                 // tokens emitted so far in the request's whole life
  std::span<const TokenCount> counts;  // present only when a penalty is on
};

inline constexpr int32_t kNoDrafting = -1;

// One sequence's share of a step.
struct StepRow {
  // A prompt chunk, or the one token emitted last and then the drafts; never empty.
  std::span<const TokenId> tokens;
  int32_t position = 0;  // of tokens[0]; KV of all earlier positions is in the blocks
  int32_t prompt_tokens =
      0;  // of the request. Positions below it are computed in the form (expanded or
          // absorbed attention) that this length chooses, later ones always absorbed,
          // so recomputing a sequence after a move gives the same bits.
  std::span<const BlockIndex> blocks;  // block table, covers position + tokens.size() positions
  bool sample = false;                 // draw from the logits after tokens.back(), or
                                       // after the token before the drafts and each right draft
  SamplingState state;                 // when sample
  // For prompt log-probabilities: the token that follows each of `tokens` in the prompt. Empty, or
  // as long as `tokens`; a negative id skips that position (the last prompt token has no
  // successor).
  std::span<const TokenId> targets;
  int32_t target_alternatives = 0;  // 0..20 beside each target

  // Speculation; see EngineInfo::drafts_max. The last `drafts` of `tokens` are guesses of what will
  // be drawn after the token before them; only with `sample`, never with `targets`. A wrong guess
  // costs its computation and changes nothing: what it left in the blocks lies beyond the positions
  // that count and is written over when those are computed.
  int32_t drafts = 0;
  // For the steps to come: kNoDrafting leaves the drafter alone, 0 lets it follow this row, n asks
  // for up to n guesses beside. A drafter that has missed rows guesses worse; nothing else changes.
  int32_t draft_next = kNoDrafting;
  // The token after tokens.back() where the prompt names it, -1 where it is drawn: the drafter
  // looks one token ahead.
  TokenId next_token = -1;

  // A step ahead; see Engine::begin. The row of the step in flight whose draw is tokens[0], which
  // is then a mere place holder; -1: the tokens are known. If that row draws nothing, the result of
  // this one means nothing.
  int32_t token_of_row = -1;
};

// Whether the row is the next token of a decoding sequence and nothing else: of such rows is a plan
// that may be in flight beside another.
inline bool decodes_plainly(const StepRow& row) {
  return row.sample && row.tokens.size() == 1 && row.targets.empty() &&
         row.draft_next == kNoDrafting;
}

// Rows are independent: a row's result does not depend on the others, on its place, nor on how its
// prompt was cut into chunks.
struct Plan {
  std::vector<StepRow> rows;
};

struct StepRowResult {
  // When sample was asked: the token drawn, then one more for each draft that was right: they are
  // the tokens that one step each would have drawn.
  std::vector<TokenId> tokens;
  std::vector<TokenLogprob> logprobs;         // one per token when state.sampling->logprobs >= 0
  std::vector<TokenId> drafts;                // guesses of what follows tokens.back()
  std::vector<TokenLogprob> target_logprobs;  // one per non-negative target
  // Not-a-number or infinity in the logits: the row has no token; INTERNAL.
  Status status;
};

struct StepResult {
  std::vector<StepRowResult> rows;  // as in the plan
};

struct EngineInfo {
  std::string model;  // architecture and directory name, for people
  std::string model_digest;
  KvLayout kv;
  int32_t blocks = 0;
  int32_t context_max = 0;
  int32_t vocab = 0;
  int32_t tensor_parallel = 1;
  // Prompts at least so long are computed in another form than shorter ones, so their KV is not the
  // same bit for bit; 0: one form for all.
  int32_t expanded_prompt_min = 0;
  std::string compute;       // "float32" | "bfloat16" | "fp8"
  int32_t drafts_max = 0;    // guesses a row may ask for; 0: the engine has no drafter
  bool steps_ahead = false;  // a second step may be begun while one is in flight, and that pays
  // Of the process that leads the group: what its ranks read, each byte once, and how much of it is
  // mapped by pages of 2 MB.
  uint64_t weight_bytes = 0, weight_huge_bytes = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual const EngineInfo& info() const = 0;
  // Begins a step and returns without waiting for its tokens, where the engine can. Of the plan and
  // of what it refers to nothing is read after the return. Steps run in the order they were begun.
  // A second one may be begun while one is in flight (begun, not finished) where info().steps_ahead
  // says so and every row of both decodes_plainly(); its rows may go on from draws of the first
  // (token_of_row). An error means the group is broken (a peer process died): every sequence on it
  // is lost and the worker must stop. Begin and finish are called by one thread.
  virtual Status begin(const Plan& plan) = 0;
  // Waits for the step begun first of those in flight. An error as of begin.
  virtual Result<StepResult> finish() = 0;
  // Both, with nothing in flight.
  Result<StepResult> step(const Plan& plan) {
    FATHOM_CHECKED(begin(plan));
    return finish();
  }
  // Copies a whole block out, info().kv.block_bytes long. Callable from any thread for a block that
  // no step in flight writes.
  virtual Status export_block(BlockIndex block, std::span<std::byte> out) const = 0;
  // Copies a whole block in, on every process of the group. Callable from any thread for a block
  // that no step in flight reads or writes.
  virtual Status import_block(BlockIndex block, std::span<const std::byte> in) = 0;
};

}  // namespace fathom
