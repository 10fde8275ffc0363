#include "engine/drafting.h"

#include <algorithm>
#include <cstdint>

namespace fathom {
namespace {

TokenId likeliest_of(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i)
    if (logits[i] > logits[best]) best = i;
  return static_cast<TokenId>(best);
}

}  // namespace

void Drafting::begin(const StepBatch& step, std::span<const int32_t> rows) {
  lines_.clear();
  drawn_.clear();
  deepest_ = 0;
  line_of_.assign(step.sequences.size(), SIZE_MAX);
  for (size_t i = 0; i < step.drafting.size(); ++i) {
    const DraftOrder& order = step.drafting[i];
    if (order.draft_next < 0) continue;
    line_of_[i] = lines_.size();
    lines_.push_back({.sequence = step.sequences[i],
                      .order = order,
                      .first_row = rows[i],
                      .first_drawn = drawn_.size()});
    drawn_.resize(drawn_.size() + static_cast<size_t>(order.draws), -1);
    deepest_ = std::max(deepest_, order.draft_next);
  }
  guessed_.assign(lines_.size(), -1);
}

void Drafting::drew(size_t sequence, TokenId token) {
  if (line_of_[sequence] == SIZE_MAX) return;
  const Line& line = lines_[line_of_[sequence]];
  const auto first = drawn_.begin() + static_cast<std::ptrdiff_t>(line.first_drawn);
  *std::find(first, first + line.order.draws - 1, -1) = token;
}

std::vector<TokenId> Drafting::take_guesses(size_t sequence) {
  if (line_of_[sequence] == SIZE_MAX) return {};
  return std::move(lines_[line_of_[sequence]].guesses);
}

// Rank 0's tokens to all. A broadcast needs every rank, so when the first of a process lays out the
// next run, the others have left the one before.
Status Drafting::share(int32_t local, std::vector<TokenId>& tokens) {
  Comm& comm = ranks_.comm(local);
  if (comm.size() == 1 || tokens.empty()) return {};
  if (local == 0) return comm.broadcast(std::as_writable_bytes(std::span(tokens)), 0);
  std::vector<TokenId> ignored(tokens.size());
  return comm.broadcast(std::as_writable_bytes(std::span(ignored)), 0);
}

void Drafting::add(Line& line, std::span<const TokenId> tokens, int32_t position, bool wants) {
  BatchSequence pairs = line.sequence;
  pairs.tokens = tokens;
  pairs.position = position;
  const int32_t first = batch_.add(pairs, rules_);
  line.position = position + static_cast<int32_t>(tokens.size()) - 1;
  line.last_row = first + static_cast<int32_t>(tokens.size()) - 1;
  line.guessing = wants;
  if (!wants) return;
  batch_.want_logits(line.last_row);
  asking_.push_back(static_cast<size_t>(&line - lines_.data()));
}

// Each position that counts, with the token behind it.
void Drafting::lay_out_pairs() {
  batch_.clear();
  from_.clear();
  asking_.clear();
  for (Line& line : lines_) {
    const auto& row = line.sequence.tokens;
    const auto drafts = static_cast<size_t>(std::max(line.order.draws - 1, 0));
    tokens_.assign(row.begin() + 1, row.end() - static_cast<std::ptrdiff_t>(drafts));
    if (line.order.next_token >= 0) tokens_.push_back(line.order.next_token);
    const auto drawn =
        std::span(drawn_).subspan(line.first_drawn, static_cast<size_t>(line.order.draws));
    for (const TokenId token : drawn)
      if (token >= 0) tokens_.push_back(token);
    const bool wants = line.order.draft_next > 0 && !drawn.empty() && drawn[0] >= 0;
    line.guessing = false;
    if (tokens_.empty()) continue;
    for (size_t i = 0; i < tokens_.size(); ++i)
      from_.push_back(line.first_row + static_cast<int32_t>(i));
    add(line, tokens_, line.sequence.position, wants);
  }
}

// The last guess of every line that wants more and has room for its KV.
void Drafting::lay_out_guesses(int32_t depth) {
  batch_.clear();
  from_.clear();
  asking_.clear();
  for (size_t i = 0; i < lines_.size(); ++i) {
    Line& line = lines_[i];
    const auto room = static_cast<int64_t>(line.sequence.blocks.size()) * rules_.block_tokens;
    line.guessing &= line.order.draft_next > depth && line.position + 1 < room && guessed_[i] >= 0;
    if (!line.guessing) continue;
    from_.push_back(line.last_row);
    add(line, std::span(&guessed_[i], 1), line.position + 1, true);
  }
}

// Of each row. Poor logits (a block never written may hold anything) make a poor guess: no error.
std::vector<TokenId> Drafting::likeliest(std::span<const float> logits, int32_t rows) {
  const auto count = static_cast<size_t>(rows);
  const size_t vocab = logits.size() / count;
  std::vector<TokenId> out;
  if (ranks_.device(0).is_host()) {
    for (size_t t = 0; t < count; ++t)
      out.push_back(likeliest_of(logits.subspan(t * vocab, vocab)));
    return out;
  }
  if (!sampler_) sampler_ = ranks_.make_sampler();
  const Sampling greedy{.temperature = 0};
  std::vector<SampleInput> inputs;
  for (size_t t = 0; t < count; ++t)
    inputs.push_back({.logits = logits.subspan(t * vocab, vocab), .sampling = &greedy});
  for (const auto& sampled : sampler_->sample(inputs))
    out.push_back(sampled.ok() ? sampled->token : 0);
  return out;
}

Status Drafting::run_module(int32_t local) {
  const LogitsSink sink = [this](int32_t first, std::span<const float> logits,
                                 int32_t rows) -> Status {
    FATHOM_CHECKED(ranks_.settle(0));
    const std::vector<TokenId> guesses = likeliest(logits, rows);
    for (size_t t = 0; t < guesses.size(); ++t) {
      const size_t line = asking_[static_cast<size_t>(first) + t];
      guessed_[line] = guesses[t];
      lines_[line].guesses.push_back(guessed_[line]);
    }
    return {};
  };
  return ranks_.draft(local, batch_, from_, sink);
}

Status Drafting::run(int32_t local) {
  if (lines_.empty()) return {};
  const auto laid_out = [&](const auto& lay_out) -> Status {
    if (local == 0) lay_out();
    if (ranks_.threads().count() == 1 || ranks_.barrier().arrive_and_wait()) return {};
    return Error{Code::unavailable, "another rank of this process gave up", "group"};
  };
  FATHOM_CHECKED(share(local, drawn_));
  FATHOM_CHECKED(laid_out([this] { lay_out_pairs(); }));
  if (batch_.rows() == 0) return {};
  FATHOM_CHECKED(run_module(local));
  for (int32_t depth = 1; depth < deepest_; ++depth) {
    FATHOM_CHECKED(share(local, guessed_));
    FATHOM_CHECKED(laid_out([&] { lay_out_guesses(depth); }));
    if (batch_.rows() == 0) return {};
    FATHOM_CHECKED(run_module(local));
  }
  return {};
}

}  // namespace fathom
