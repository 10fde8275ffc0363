#include "worker/sequence.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace fathom {
namespace {

Status check_tokens(const std::vector<TokenId>& tokens, int32_t prompt_tokens,
                    const SequenceLimits& limits) {
  if (tokens.empty()) return invalid("a sequence needs at least one token", "tokens");
  if (tokens.size() > static_cast<size_t>(limits.context_max))
    return invalid(std::to_string(tokens.size()) + " tokens exceed the context of " +
                       std::to_string(limits.context_max),
                   "tokens");
  if (prompt_tokens < 1 || static_cast<size_t>(prompt_tokens) > tokens.size())
    return invalid("must be between 1 and the number of tokens", "prompt_tokens");
  const auto outside = [&](TokenId t) { return t < 0 || t >= limits.vocab; };
  if (std::ranges::any_of(tokens, outside))
    return invalid("a token id lies outside the vocabulary of " + std::to_string(limits.vocab),
                   "tokens");
  return {};
}

Status check_sampling(const Sampling& s, const SequenceLimits& limits) {
  const auto outside = [&](TokenId t) { return t < 0 || t >= limits.vocab; };
  if (s.max_tokens < 0) return invalid("must not be negative", "sampling.max_tokens");
  if (s.logprobs > kTopLogprobsMax) return invalid("at most 20", "sampling.logprobs");
  if (s.prompt_logprobs > kTopLogprobsMax) return invalid("at most 20", "sampling.prompt_logprobs");
  if (std::ranges::any_of(s.stop_tokens, outside))
    return invalid("a token id lies outside the vocabulary", "sampling.stop_tokens");
  if (std::ranges::any_of(s.logit_bias, [&](const auto& bias) { return outside(bias.first); }))
    return invalid("a token id lies outside the vocabulary", "sampling.logit_bias");
  return {};
}

Status check_amounts(int32_t lease, int32_t blocks) {
  if (lease < 0) return invalid("must not be negative", "lease");
  if (blocks < 0) return invalid("must not be negative", "blocks");
  return {};
}

// Leases add up; an absurd one stays at the top instead of wrapping around.
int32_t sum_of(int32_t a, int32_t b) {
  return static_cast<int32_t>(std::min<int64_t>(int64_t{a} + b, INT32_MAX));
}

}  // namespace

std::string_view phase_name(Phase phase) {
  constexpr std::string_view kNames[kPhases] = {"prefilling", "decoding",  "paused",
                                                "holding",    "receiving", "resident"};
  return kNames[static_cast<size_t>(phase)];
}

Status check_edit(const Prefill& edit, const SequenceLimits& limits) {
  FATHOM_CHECKED(check_tokens(edit.tokens, edit.prompt_tokens, limits));
  FATHOM_CHECKED(check_sampling(edit.sampling, limits));
  if (edit.handoff && edit.lease != 1) return invalid("a handoff emits exactly one token", "lease");
  return check_amounts(edit.lease, edit.blocks);
}

Status check_edit(const Receive& edit, const SequenceLimits& limits) {
  if (edit.tokens < 1 || edit.tokens > limits.context_max)
    return invalid("must be between 1 and the context of " + std::to_string(limits.context_max),
                   "tokens");
  if (edit.ticket.address.empty()) return invalid("must name a peer", "ticket.address");
  return check_amounts(0, edit.blocks);
}

Status check_edit(const Decode& edit, const SequenceLimits& limits) {
  FATHOM_CHECKED(check_tokens(edit.tokens, edit.prompt_tokens, limits));
  FATHOM_CHECKED(check_sampling(edit.sampling, limits));
  return check_amounts(edit.lease, 0);
}

Status check_edit(const Renew& edit) { return check_amounts(edit.lease, edit.blocks); }

Sequence::Sequence(const Prefill& edit, std::span<const BlockIndex> blocks)
    : id_(edit.seq),
      phase_(Phase::prefilling),
      handoff_(edit.handoff),
      key_(edit.key),
      prompt_tokens_(edit.prompt_tokens),
      lease_(edit.lease),
      sampling_(edit.sampling),
      tokens_(edit.tokens),
      blocks_(blocks.begin(), blocks.end()) {
  begin_counts();
}

Sequence::Sequence(const Receive& edit, std::span<const BlockIndex> blocks)
    : id_(edit.seq),
      phase_(Phase::receiving),
      moving_(edit.tokens),
      blocks_(blocks.begin(), blocks.end()) {}

int32_t Sequence::pending() const {
  if (phase_ != Phase::prefilling && phase_ != Phase::decoding) return 0;
  return static_cast<int32_t>(tokens_.size()) - computed_;
}

Status Sequence::covered(const SequenceLimits& limits) const {
  // The last token a lease grants is emitted but never computed under it, hence the - 1.
  const int64_t room = std::min<int64_t>(lease_, std::max(sampling_.max_tokens - emitted(), 0));
  const int64_t known = std::max<int64_t>(static_cast<int64_t>(tokens_.size()), moving_);
  const int64_t positions = std::min<int64_t>(known + std::max<int64_t>(room - 1, 0),
                                              std::max<int64_t>(limits.context_max, known));
  const int32_t needed = blocks_for(positions, limits.block_tokens);
  const auto reserved = static_cast<int32_t>(blocks_.size());
  if (needed <= reserved) return {};
  return Error{Code::resource_exhausted,
               "sequence " + std::to_string(id_.value) + " needs " + std::to_string(needed) +
                   " blocks for " + std::to_string(positions) + " positions, " +
                   std::to_string(reserved) + " are reserved",
               "blocks"};
}

std::span<const TokenId> Sequence::reusable() const {
  if (sampling_.prompt_logprobs >= 0) return {};
  return std::span(tokens_).first(
      std::min(static_cast<size_t>(prompt_tokens_), tokens_.size() - 1));
}

std::span<const TokenId> Sequence::settled() const {
  const auto known = std::min(static_cast<size_t>(computed_), tokens_.size() - 1);
  return std::span(tokens_).first(std::min(static_cast<size_t>(prompt_tokens_), known));
}

void Sequence::adopt(std::span<const BlockIndex> blocks, int32_t positions) {
  CHECK(untouched() && positions >= cached_);
  blocks_.assign(blocks.begin(), blocks.end());
  computed_ = cached_ = positions;
}

int32_t Sequence::drafts(const SequenceLimits& limits) const {
  if (phase_ != Phase::decoding || drafts_.empty()) return 0;
  // Every right draft is emitted, and one token after the last of them.
  const int64_t room =
      std::min<int64_t>({lease_, int64_t{sampling_.max_tokens} - emitted(),
                         int64_t{limits.context_max} - static_cast<int64_t>(tokens_.size())});
  return static_cast<int32_t>(
      std::clamp<int64_t>(room - 1, 0, static_cast<int64_t>(drafts_.size())));
}

StepRow Sequence::row(int32_t count, int32_t drafts) {
  const auto first = static_cast<size_t>(computed_);
  const auto size = static_cast<size_t>(count);
  StepRow row;
  row.tokens = std::span(tokens_).subspan(first, size);
  if (drafts > 0) {
    with_drafts_.assign(row.tokens.begin(), row.tokens.end());
    with_drafts_.insert(with_drafts_.end(), drafts_.begin(), drafts_.begin() + drafts);
    row.tokens = with_drafts_;
    row.drafts = drafts;
  }
  row.position = computed_;
  row.prompt_tokens = prompt_tokens_;
  row.blocks = blocks_;
  row.sample = count == pending() && draws();
  if (first + size < tokens_.size()) row.next_token = tokens_[first + size];
  row.state = {.sampling = &sampling_, .emitted = emitted(), .counts = counts_};
  if (phase_ == Phase::prefilling && sampling_.prompt_logprobs >= 0) {
    targets_.assign(size, -1);
    for (size_t i = 0; i < size; ++i)
      if (first + i + 1 < static_cast<size_t>(prompt_tokens_)) targets_[i] = tokens_[first + i + 1];
    row.targets = targets_;
    row.target_alternatives = sampling_.prompt_logprobs;
  }
  return row;
}

void Sequence::took_off(int32_t row) {
  ++in_flight_;
  row_in_flight_ = row;
}

bool Sequence::goes_on(const SequenceLimits& limits) const {
  return phase_ == Phase::decoding && lease_ > 1 && emitted() + 1 < sampling_.max_tokens &&
         tokens_.size() + 1 < static_cast<size_t>(limits.context_max);
}

StepRow Sequence::row_ahead() const {
  CHECK(in_flight_ == 1 && !counting_);
  return {.tokens = std::span(tokens_).last(1),  // holds the place of the one being drawn
          .position = computed_ + 1,
          .prompt_tokens = prompt_tokens_,
          .blocks = blocks_,
          .sample = true,
          .state = {.sampling = &sampling_, .emitted = emitted() + 1},
          .token_of_row = row_in_flight_};
}

Finish Sequence::advance(int32_t count, std::span<const TokenId> drawn,
                         const SequenceLimits& limits) {
  drafts_.clear();
  computed_ += count;
  if (computed_ < static_cast<int32_t>(tokens_.size())) return Finish::none;
  Finish finish = Finish::none;
  if (drawn.empty() && emitted() >= sampling_.max_tokens) finish = Finish::length;
  for (size_t i = 0; i < drawn.size() && finish == Finish::none; ++i) {
    // A right draft was computed with the row, so its KV is in place like that of the token before.
    if (i > 0) ++computed_;
    finish = emit(drawn[i], limits);
  }
  if (finish != Finish::none) return finish;
  phase_ = handoff_ ? Phase::holding : lease_ > 0 ? Phase::decoding : Phase::paused;
  return Finish::none;
}

Finish Sequence::emit(TokenId token, const SequenceLimits& limits) {
  const int32_t before = emitted();
  tokens_.push_back(token);
  --lease_;
  if (counting_) count(token, 1);
  const bool stops = std::ranges::find(sampling_.stop_tokens, token) != sampling_.stop_tokens.end();
  if (stops && before >= sampling_.min_tokens) return Finish::stop;
  const bool full = tokens_.size() >= static_cast<size_t>(limits.context_max);
  return full || emitted() >= sampling_.max_tokens ? Finish::length : Finish::none;
}

Status Sequence::start(const Decode& edit) {
  if ((phase_ != Phase::receiving && phase_ != Phase::resident) || started_)
    return invalid("the sequence does not wait to be started", "seq");
  if (edit.tokens.size() != static_cast<size_t>(moving_) + 1)
    return invalid("KV of " + std::to_string(moving_) + " positions was moved, so " +
                       std::to_string(moving_ + 1) + " tokens are expected, not " +
                       std::to_string(edit.tokens.size()),
                   "tokens");
  tokens_ = edit.tokens;
  prompt_tokens_ = edit.prompt_tokens;
  sampling_ = edit.sampling;
  lease_ = sum_of(lease_, edit.lease);
  started_ = true;
  begin_counts();
  if (phase_ == Phase::resident) resume();
  return {};
}

Status Sequence::renew(int32_t lease, std::span<const BlockIndex> blocks) {
  if (handoff_) return invalid("a handoff is not renewed", "seq");
  lease_ = sum_of(lease_, lease);
  blocks_.assign(blocks.begin(), blocks.end());
  if (phase_ == Phase::paused) resume();
  return {};
}

void Sequence::arrived() {
  computed_ = moving_;
  phase_ = Phase::resident;
  if (started_) resume();
}

void Sequence::resume() {
  phase_ = lease_ > 0 ? Phase::decoding : Phase::paused;
  // A sequence that was only scored computes its last position again, for the logits it now needs.
  if (lease_ > 0 && computed_ == static_cast<int32_t>(tokens_.size())) --computed_;
}

void Sequence::begin_counts() {
  counting_ = sampling_.repetition_penalty != 1.0f || sampling_.frequency_penalty != 0.0f ||
              sampling_.presence_penalty != 0.0f;
  if (!counting_) return;
  counts_.clear();
  for (size_t i = 0; i < tokens_.size(); ++i)
    counts_.push_back({tokens_[i], i < static_cast<size_t>(prompt_tokens_) ? 0 : 1});
  std::ranges::sort(counts_, {}, &TokenCount::token);
  size_t kept = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    if (kept > 0 && counts_[kept - 1].token == counts_[i].token)
      counts_[kept - 1].in_output += counts_[i].in_output;
    else
      counts_[kept++] = counts_[i];
  }
  counts_.resize(kept);
}

void Sequence::count(TokenId token, int32_t in_output) {
  const auto at = std::ranges::lower_bound(counts_, token, {}, &TokenCount::token);
  if (at != counts_.end() && at->token == token)
    at->in_output += in_output;
  else
    counts_.insert(at, {token, in_output});
}

}  // namespace fathom
