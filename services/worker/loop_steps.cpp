// How does a step leave and come back? The half of Loop that runs sequences. A step takes off: it
// is planned and the engine begins it. It lands: its tokens are waited for, taken in and reported.
// Where the engine says that this pays, a step of plainly decoding rows takes off before the one
// ahead of it has landed: its rows name the rows whose draws they go on from, so what was drawn
// need not pass through here first. A row that was begun for a sequence which by then has ended is
// computed in vain: what it draws reaches nobody, what it writes lies behind what counts, in blocks
// that nobody is given before it landed.
#include <algorithm>
#include <limits>
#include <utility>

#include "worker/loop.h"

namespace fathom {
namespace {

constexpr const char* kEnded = "the sequence has ended";

}  // namespace

// What each sequence could compute; false when the step must wait for the one in flight: for the
// tokens it draws where they are counted or guessed on, for the prompt positions it publishes.
bool Loop::list_runnable() {
  const bool ahead = !flights_.empty();
  runnable_.clear();
  for (const auto& sequence : sequences_) {
    const bool decode = sequence->phase() == Phase::decoding;
    if (sequence->in_flight() > 0)
      runnable_.push_back({.tokens = sequence->goes_on(limits()) ? 1 : 0, .decode = decode});
    else
      runnable_.push_back(
          {.tokens = sequence->pending(), .decode = decode, .drafts = sequence->drafts(limits())});
    if (ahead && runnable_.back().tokens > 0 && !sequence->draws_unseen()) return false;
  }
  return true;
}

// Every chunk walks all that came before it, so larger ones make a long prompt cheaper; but whoever
// else is here would wait for them. A handoff that was computed waits for nothing.
int32_t Loop::tokens_of_step() const {
  if (config_.prompt_token_budget <= step_token_budget_) return step_token_budget_;
  int prompts = 0;
  for (const auto& sequence : sequences_) {
    if (sequence->phase() == Phase::holding) continue;
    if (sequence->phase() != Phase::prefilling) return step_token_budget_;
    ++prompts;
  }
  return prompts == 1 ? config_.prompt_token_budget : step_token_budget_;
}

// Of the prompts that wait, the one admitted first goes on.
int32_t Loop::prompt_tokens_beside(int32_t decode_rows) const {
  if (decode_rows == 0) return std::numeric_limits<int32_t>::max();
  for (size_t i = 0; i < runnable_.size(); ++i)
    if (!runnable_[i].decode && runnable_[i].tokens > 0)
      return pace_.prompt_tokens_max(decode_rows, sequences_[i]->computed());
  return std::numeric_limits<int32_t>::max();
}

bool Loop::make_plan() {
  const bool ahead = !flights_.empty();
  if (ahead && !(engine_.info().steps_ahead && flights_.back().plain)) return false;
  if (!ahead) adopt_prefixes();
  if (!list_runnable()) return false;
  const auto decode_rows =
      static_cast<int32_t>(std::ranges::count_if(runnable_, &Runnable::decode));
  const bool prompts =
      std::ranges::any_of(runnable_, [](const Runnable& r) { return !r.decode && r.tokens > 0; });
  drafts_asked_ = speculation_.choose(decode_rows, !prompts);
  for (Runnable& r : runnable_) r.drafts = std::min(r.drafts, drafts_asked_);
  plan(runnable_,
       {.tokens_max = tokens_of_step(),
        .prompt_tokens_max = prompt_tokens_beside(decode_rows),
        .rows_max = config_.rows_max,
        .turn = steps_ + flights_.size()},
       shares_);
  plan_.rows.clear();
  for (const Share& share : shares_) add_row(*sequences_[static_cast<size_t>(share.index)], share);
  return !shares_.empty();
}

void Loop::add_row(Sequence& sequence, const Share& share) {
  if (sequence.in_flight() > 0) {
    plan_.rows.push_back(sequence.row_ahead());
    return;
  }
  StepRow& row = plan_.rows.emplace_back(sequence.row(share.tokens, share.drafts));
  // A prompt is always followed: drafts are only as good as what the drafter saw of it.
  const int32_t wanted = speculation_.draft_next(drafts_asked_);
  const bool prompt = sequence.phase() == Phase::prefilling;
  const bool goes_on = row.sample && !sequence.handoff();
  row.draft_next = !speculation_.on() ? kNoDrafting
                   : !goes_on         ? 0
                   : prompt           ? std::max(wanted, 0)
                                      : wanted;
}

bool Loop::take_off() {
  Flight flight{.drafts_asked = drafts_asked_, .plain = !speculation_.on(), .began = clock_.now()};
  if (const Status begun = engine_.begin(plan_); !begun.ok()) {
    engine_status_ = begun;
    abandon_flights();
    return false;
  }
  for (size_t i = 0; i < shares_.size(); ++i) {
    Sequence& sequence = *sequences_[static_cast<size_t>(shares_[i].index)];
    flight.plain &= sequence.draws_unseen();
    sequence.took_off(static_cast<int32_t>(i));
    flight.rows.push_back({.sequence = &sequence,
                           .tokens = shares_[i].tokens,
                           .drafts = shares_[i].drafts,
                           .sample = plan_.rows[i].sample});
  }
  if (!flights_.empty()) metrics_.steps_ahead.Increment();
  flights_.push_back(std::move(flight));
  return true;
}

void Loop::land() {
  Result<StepResult> result = engine_.finish();
  if (!result.ok()) {
    engine_status_ = result.error();
    return abandon_flights();
  }
  const Flight flight = std::move(flights_.front());
  flights_.pop_front();
  // Of a step begun ahead, what passed before the one ahead of it was finished is that one's.
  const Instant now = clock_.now();
  const Duration took = now - std::max(flight.began, landed_);
  landed_ = now;
  CHECK(result->rows.size() == flight.rows.size(), "the engine answers every row");
  for (size_t i = 0; i < flight.rows.size(); ++i) {
    Sequence& sequence = *flight.rows[i].sequence;
    sequence.landed();
    if (!leaving(sequence.id())) digest(flight.rows[i], result->rows[i]);
  }
  bury();
  ++steps_;
  report_.step_us = static_cast<uint64_t>(std::max<int64_t>(took.ns / 1000, 1));
  observe_step(flight, took);
  // Peers that fetch an ended sequence hear of it after the router, which would else take it for a
  // failure.
  send_report();
  for (const auto& [seq, why] : ended_) forget(seq, why);
  ended_.clear();
  observe_state();
}

void Loop::land_all() {
  while (!flights_.empty()) land();
}

// Nothing runs on a broken engine.
void Loop::abandon_flights() {
  for (const Flight& flight : std::exchange(flights_, {}))
    for (const FlightRow& row : flight.rows) row.sequence->landed();
  bury();
}

void Loop::digest(const FlightRow& row, StepRowResult& result) {
  Sequence& sequence = *row.sequence;
  const bool prompt_chunk = sequence.phase() == Phase::prefilling;
  if (prompt_chunk && sequence.untouched()) count_prefix(sequence);
  if (prompt_chunk)
    report_.prefill_tokens += row.tokens;
  else
    ++report_.decode_rows;
  const auto outside = [&](TokenId t) { return t < 0 || t >= engine_.info().vocab; };
  if (result.status.ok() && row.sample &&
      (result.tokens.empty() || std::ranges::any_of(result.tokens, outside)))
    result.status = Error{Code::internal, "the engine drew no token", "token"};
  if (!result.status.ok()) {
    report_.failed.push_back({sequence.id(), result.status.error()});
    metrics_.failed_sequences.Increment();
    ended_.emplace_back(sequence.id(), result.status.error());
    return;
  }
  Row out{.seq = sequence.id(), .first = sequence.emitted()};
  out.prompt_logprobs = std::move(result.target_logprobs);
  out.finish = sequence.advance(row.tokens, result.tokens, limits());
  // What lies behind the end was drawn for nothing.
  const auto kept = static_cast<size_t>(sequence.emitted() - out.first);
  out.tokens.assign(result.tokens.begin(),
                    result.tokens.begin() + static_cast<std::ptrdiff_t>(kept));
  out.logprobs = std::move(result.logprobs);
  if (out.logprobs.size() > kept) out.logprobs.resize(kept);
  out.computed = sequence.computed();
  take_drafts(row, result);
  if (prompt_chunk) {
    out.cached = sequence.cached();
    publish_prefix(sequence);
  }
  if (sequence.handoff()) exports_.progress(sequence.id(), sequence.computed(), sequence.blocks());
  if (out.finish != Finish::none)
    ended_.emplace_back(sequence.id(), Error{Code::not_found, kEnded, "seq"});
  report_.rows.push_back(std::move(out));
}

void Loop::take_drafts(const FlightRow& row, StepRowResult& result) {
  if (row.drafts > 0) {
    const auto right = static_cast<int32_t>(result.tokens.size()) - 1;
    speculation_.observe_row(row.drafts, right);
    metrics_.draft_tokens.Increment(row.drafts);
    metrics_.accepted_draft_tokens.Increment(right);
    report_.drafted += row.drafts;
    report_.accepted += right;
  }
  row.sequence->guess(std::move(result.drafts));
}

void Loop::observe_step(const Flight& flight, Duration took) {
  auto& seconds = report_.prefill_tokens == 0 ? metrics_.step_seconds_decode
                  : report_.decode_rows == 0  ? metrics_.step_seconds_prefill
                                              : metrics_.step_seconds_mixed;
  seconds.Observe(took.to_seconds());
  int32_t verified = 0;
  for (const FlightRow& row : flight.rows) verified += row.drafts;
  speculation_.observe_step({.rows = report_.decode_rows,
                             .asked = flight.drafts_asked,
                             .verified = verified,
                             .pure = report_.prefill_tokens == 0,
                             .took = took});
  pace_.observe(
      {.prompt_tokens = report_.prefill_tokens, .decode_rows = report_.decode_rows, .took = took});
  metrics_.step_rows.Observe(static_cast<double>(flight.rows.size()));
  if (report_.prefill_tokens > 0) metrics_.step_prefill_tokens.Observe(report_.prefill_tokens);
  metrics_.prompt_tokens.Increment(report_.prefill_tokens);
  size_t drawn = 0;
  for (const Row& row : report_.rows) drawn += row.tokens.size();
  metrics_.generated_tokens.Increment(static_cast<double>(drawn));
}

}  // namespace fathom
