#include "engine/step_sampling.h"

#include <algorithm>

namespace fathom {
namespace {

size_t known_tokens(const StepRow& row) {
  return row.tokens.size() - static_cast<size_t>(row.drafts);
}

// Whether all drafts up to this use were what was drawn, so that its logits are those of plain
// decoding.
bool reached(const StepRow& row, const StepRowResult& out, const LogitUse& u) {
  if (!out.status.ok()) return false;
  const size_t known = known_tokens(row);
  if (!u.sample || u.token < known) return true;
  return out.tokens.size() == u.token + 1 - known && out.tokens.back() == row.tokens[u.token];
}

// The sequence's counts with `drawn` added.
void count(const StepRow& row, std::span<const TokenId> drawn, std::vector<TokenCount>& counts) {
  counts.assign(row.state.counts.begin(), row.state.counts.end());
  for (const TokenId token : drawn) {
    const auto at = std::ranges::lower_bound(counts, token, {}, &TokenCount::token);
    if (at != counts.end() && at->token == token)
      ++at->in_output;
    else
      counts.insert(at, {token, 1});
  }
}

}  // namespace

StepSampling::StepSampling(Tap tap, ModelRanks& ranks, Drafting& drafting)
    : tap_(std::move(tap)),
      ranks_(ranks),
      device_(ranks.device(0)),
      drafting_(drafting),
      sampler_(ranks.make_sampler()) {}

// What draws here waits for the device, which must not wait for a peer that hangs.
Status StepSampling::use(const Plan& plan, std::span<const LogitUse> uses,
                         std::span<const float> logits, StepResult& result) {
  FATHOM_CHECKED(ranks_.settle(0));
  const size_t vocab = logits.size() / uses.size();
  const size_t wave = device_.is_host() ? 1 : uses.size();
  for (size_t i = 0; i < uses.size(); i += wave)
    draw(plan, uses.subspan(i, wave), logits.subspan(i * vocab, wave * vocab), result);
  return {};
}

void StepSampling::begin_step() { begun_.emplace_back(); }

// The buffer may move while the rows of this step that are fed from it are not computed yet, but
// all of them are said: the device keeps the order.
void StepSampling::begin(const Plan& plan, std::span<const LogitUse> uses, size_t first,
                         std::span<const float> logits) {
  TokenId* const drawn = ranks_.drawn(0, static_cast<int64_t>(uses.size()));
  const auto vocab = static_cast<size_t>(ranks_.model().vocab);
  Begun& begun = begun_.back();
  draws_.clear();
  for (size_t i = 0; i * vocab < logits.size(); ++i) {
    const LogitUse& u = uses[first + i];
    const StepRow& row = plan.rows[u.row];
    const auto values = logits.subspan(i * vocab, vocab);
    show(plan, u, values);
    begun.draws.push_back({.row = u.row, .logprobs = row.state.sampling->logprobs >= 0});
    draws_.push_back({.logits = values,
                      .sampling = row.state.sampling,
                      .position = row.position + static_cast<int32_t>(u.token) + 1,
                      .emitted = row.state.emitted,
                      .counts = row.state.counts});
  }
  sampler_->begin(draws_, drawn + first);
  ++begun.parts;
}

Status StepSampling::finish(StepResult& result) {
  const Begun begun = std::move(begun_.front());
  begun_.pop_front();
  size_t next = 0;
  for (int32_t part = 0; part < begun.parts; ++part) {
    FATHOM_TRY(auto sampled, sampler_->finish());
    for (auto& draw : sampled) {
      const Drawing& d = begun.draws[next++];
      StepRowResult& out = result.rows[d.row];
      if (!draw.ok()) {
        out.status = draw.error();
        continue;
      }
      out.tokens.push_back(draw->token);
      if (d.logprobs) out.logprobs.push_back(std::move(draw->logprob));
    }
  }
  return {};
}

void StepSampling::draw(const Plan& plan, std::span<const LogitUse> uses,
                        std::span<const float> logits, StepResult& result) {
  const size_t vocab = logits.size() / uses.size();
  draws_.clear();
  scores_.clear();
  counts_.resize(std::max(counts_.size(), uses.size()));
  for (size_t i = 0; i < uses.size(); ++i) {
    const LogitUse& u = uses[i];
    const StepRow& row = plan.rows[u.row];
    // Of one row alone it is known whether it is reached; of several it is guessed.
    if (uses.size() == 1 && !reached(row, result.rows[u.row], u)) return;
    const auto values = logits.subspan(i * vocab, vocab);
    show(plan, u, values);
    if (u.target >= 0) scores_.push_back({values, u.target, row.target_alternatives});
    if (!u.sample) continue;
    const size_t known = known_tokens(row), drawn = u.token + 1 - known;
    std::span<const TokenCount> counts = row.state.counts;
    if (drawn > 0 && !counts.empty()) {
      count(row, row.tokens.subspan(known, drawn), counts_[i]);
      counts = counts_[i];
    }
    draws_.push_back({.logits = values,
                      .sampling = row.state.sampling,
                      .position = row.position + static_cast<int32_t>(u.token) + 1,
                      .emitted = row.state.emitted + static_cast<int32_t>(drawn),
                      .counts = counts});
  }
  auto scored = sampler_->score(scores_);
  auto sampled = sampler_->sample(draws_);
  size_t next_score = 0, next_draw = 0;
  for (const LogitUse& u : uses) {
    const StepRow& row = plan.rows[u.row];
    StepRowResult& out = result.rows[u.row];
    auto* score = u.target >= 0 ? &scored[next_score++] : nullptr;
    auto* draw = u.sample ? &sampled[next_draw++] : nullptr;
    if (!reached(row, out, u)) continue;
    if (score != nullptr) {
      if (!score->ok()) {
        out.status = score->error();
        continue;
      }
      out.target_logprobs.push_back(std::move(*score).value());
    }
    if (draw == nullptr) continue;
    if (!draw->ok()) {
      out.status = draw->error();
      continue;
    }
    drafting_.drew(u.sequence, (*draw)->token);
    out.tokens.push_back((*draw)->token);
    if (row.state.sampling->logprobs >= 0) out.logprobs.push_back(std::move((*draw)->logprob));
  }
}

void StepSampling::show(const Plan& plan, const LogitUse& u, std::span<const float> logits) {
  if (!tap_) return;
  shown_.resize(logits.size());
  if (!device_.download(shown_.data(), logits.data(), logits.size_bytes()).ok()) return;
  tap_(static_cast<int32_t>(u.row), plan.rows[u.row].position + static_cast<int32_t>(u.token),
       shown_);
}

}  // namespace fathom
