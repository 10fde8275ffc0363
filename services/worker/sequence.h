// Where does one sequence stand in the worker, and what does a step change? A plain record with the
// few moves it can make; the loop owns it and the engine reads it through StepRow. Invariant:
// tokens.size() - computed is what is left to compute, it is 1 for a decoding sequence, and no move
// grants a token the lease does not cover.
//
//   Prefill -> prefilling -> decoding <-> paused (lease used up)      Receive -> receiving ->
//   resident -> decoding
//                         -> holding (handoff: blocks kept until Drop)
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "contract/drive.h"
#include "engine/engine.h"
#include "kernels/sample.h"

namespace fathom {

enum class Phase : uint8_t { prefilling, decoding, paused, holding, receiving, resident };
inline constexpr int kPhases = 6;
std::string_view phase_name(Phase phase);

// What the engine behind the worker can take; edits outside of it are refused.
struct SequenceLimits {
  int32_t vocab = 0;
  int32_t context_max = 0;
  int32_t block_tokens = 0;
};

// INVALID_ARGUMENT naming the field, for an edit that breaks the contract by itself.
Status check_edit(const Prefill& edit, const SequenceLimits& limits);
Status check_edit(const Receive& edit, const SequenceLimits& limits);
Status check_edit(const Decode& edit, const SequenceLimits& limits);
Status check_edit(const Renew& edit);

class Sequence {
 public:
  // Of checked edits.
  Sequence(const Prefill& edit, std::span<const BlockIndex> blocks);
  Sequence(const Receive& edit, std::span<const BlockIndex> blocks);

  SeqId id() const { return id_; }
  Phase phase() const { return phase_; }
  bool handoff() const { return handoff_; }
  uint64_t key() const { return key_; }
  const std::vector<BlockIndex>& blocks() const { return blocks_; }
  const std::vector<TokenId>& tokens() const { return tokens_; }
  int32_t computed() const { return computed_; }
  int32_t cached() const { return cached_; }  // of them, those that came from the prefix cache
  int32_t prompt_tokens() const { return prompt_tokens_; }
  int32_t lease() const { return lease_; }
  int32_t emitted() const { return static_cast<int32_t>(tokens_.size()) - prompt_tokens_; }

  // Positions to compute before the next token; 0 when the sequence waits for an edit or for its
  // KV.
  int32_t pending() const;
  // RESOURCE_EXHAUSTED when the blocks do not cover what the lease permits.
  Status covered(const SequenceLimits& limits) const;

  // Of a Prefill nothing of which was computed here yet: another's blocks may still take the place
  // of its first ones.
  bool untouched() const {
    return phase_ == Phase::prefilling && computed_ == cached_ && in_flight_ == 0;
  }
  // Whether what it draws next can be computed before it is known: nothing here counts tokens for
  // penalties.
  bool draws_unseen() const { return phase_ == Phase::decoding && draws() && !counting_; }
  // What may be looked up in a prefix cache: prompt tokens but the last known one, whose logits are
  // wanted; none when every prompt position's logits are.
  std::span<const TokenId> reusable() const;
  // Prompt tokens whose KV is in place for good. The last known token may be computed once more.
  std::span<const TokenId> settled() const;
  // The first `positions` are in place in the first of these blocks, which are all it owns now.
  void adopt(std::span<const BlockIndex> blocks, int32_t positions);

  // How many of its guesses a step may verify: all that could be emitted under the lease, of a
  // sequence that decodes.
  int32_t drafts(const SequenceLimits& limits) const;

  // The next `count` pending tokens as a row of a step, then `drafts` guesses. Spans point into
  // this sequence.
  StepRow row(int32_t count, int32_t drafts = 0);

  // Steps ahead. The row was begun as the `row`th of its step; that step is finished.
  void took_off(int32_t row);
  void landed() { --in_flight_; }
  int32_t in_flight() const { return in_flight_; }  // rows begun whose steps are not finished
  // Of a decoding sequence with one row in flight: whether it goes on whatever that row draws,
  // unless it is a stop token, and then the row that computes the token drawn.
  bool goes_on(const SequenceLimits& limits) const;
  StepRow row_ahead() const;

  // That row was computed and `drawn` came of it; nothing without a draw. Takes of them what comes
  // before the end. Says whether the sequence ended.
  Finish advance(int32_t count, std::span<const TokenId> drawn, const SequenceLimits& limits);
  // What the engine guesses to come next.
  void guess(std::vector<TokenId> drafts) { drafts_ = std::move(drafts); }

  // INVALID_ARGUMENT when the edit does not fit the state.
  Status start(const Decode& edit);  // resident, or receiving: then it starts on arrival
  Status renew(int32_t lease, std::span<const BlockIndex> blocks);  // blocks: all it owns now
  void arrived();  // every block of a receiving sequence is in place

 private:
  bool draws() const { return lease_ > 0 && emitted() < sampling_.max_tokens; }
  void resume();
  void begin_counts();
  void count(TokenId token, int32_t in_output);
  Finish emit(TokenId token, const SequenceLimits& limits);

  SeqId id_;
  Phase phase_;
  bool handoff_ = false;
  bool counting_ = false;  // a penalty is on
  bool started_ = false;   // a received sequence whose Decode has come
  uint64_t key_ = 0;
  int32_t prompt_tokens_ = 0;
  int32_t computed_ = 0;  // positions whose KV is in place
  int32_t cached_ = 0;
  int32_t moving_ = 0;  // positions whose KV a receiving sequence waits for
  int32_t lease_ = 0;
  int32_t in_flight_ = 0;
  int32_t row_in_flight_ = -1;  // of the step begun last
  Sampling sampling_;
  std::vector<TokenId> tokens_;
  std::vector<BlockIndex> blocks_;
  std::vector<TokenCount> counts_;    // sorted by token; empty unless counting_
  std::vector<TokenId> targets_;      // of the row being computed
  std::vector<TokenId> drafts_;       // guesses of what follows tokens_
  std::vector<TokenId> with_drafts_;  // the tokens of a row that verifies some
};

}  // namespace fathom
