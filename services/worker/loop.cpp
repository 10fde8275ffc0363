#include "worker/loop.h"

#include <algorithm>
#include <string>
#include <utility>

#include "process/log.h"

namespace fathom {
namespace {

constexpr const char* kEnded = "the sequence has ended";

}  // namespace

Loop::Loop(Engine& engine, Fetcher& fetcher, const Clock& clock, const LoopConfig& config,
           WorkerMetrics& metrics, Sink sink)
    : engine_(engine),
      clock_(clock),
      config_(config),
      metrics_(metrics),
      sink_(std::move(sink)),
      pool_(engine.info().blocks, engine.info().kv.block_tokens),
      exports_(engine, clock, {.instance = config.instance, .patience = config.ticket_patience},
               metrics, [this] { inbox_.wake(); }),
      imports_(engine, fetcher, metrics, clock,
               [this](FetchEnd end) { inbox_.put(std::move(end)); }),
      speculation_(std::min(config.speculative_tokens, engine.info().drafts_max)),
      step_token_budget_(config.step_token_budget) {
  metrics_.kv_blocks.Set(pool_.total());
  observe_state();
}

Loop::~Loop() = default;

SequenceLimits Loop::limits() const {
  const EngineInfo& info = engine_.info();
  return {
      .vocab = info.vocab, .context_max = info.context_max, .block_tokens = info.kv.block_tokens};
}

Result<Welcome> Loop::on_hello(const Hello& hello) {
  if (hello.protocol != kProtocolVersion)
    return Error{Code::failed_precondition,
                 "this worker speaks protocol " + std::to_string(kProtocolVersion) +
                     ", the router " + std::to_string(hello.protocol),
                 "protocol"};
  // It would be given work at once that nobody does.
  if (const Duration running = running_for(); running > config_.stall)
    return Error{Code::unavailable,
                 "a step of this worker has not returned for " +
                     std::to_string(static_cast<int64_t>(running.to_seconds())) + " s",
                 "step"};
  {
    const std::lock_guard lock(epoch_mutex_);
    if (hello.epoch < epoch_)
      return Error{Code::failed_precondition, "a newer router drives this worker", "epoch"};
    epoch_ = hello.epoch;
  }
  reset(hello.step_token_budget);
  const EngineInfo& info = engine_.info();
  return Welcome{.instance = config_.instance,
                 .role = config_.role,
                 .model = config_.model,
                 .model_digest = info.model_digest,
                 .kv = info.kv,
                 .blocks = info.blocks,
                 .rows_max = config_.rows_max,
                 .context_max = info.context_max,
                 .vocab = info.vocab,
                 .tensor_parallel = info.tensor_parallel,
                 .fetch_address = config_.fetch_address};
}

// Here and not at the next boundary: a ticket of the new router may come before that.
void Loop::reset(int32_t step_token_budget) {
  exports_.refuse_waiting(dropped());
  ++resets_asked_;
  inbox_.put(RouterReset{.step_token_budget = step_token_budget});
}

Error Loop::dropped() {
  return {Code::unavailable,
          "the worker dropped everything: its router is gone, or the worker is ending", "seq"};
}

void Loop::on_edits(Edits edits) { inbox_.put(std::move(edits)); }
void Loop::on_router_gone() { reset(0); }
void Loop::drain() { inbox_.put(DrainRequest{}); }
void Loop::stop() { inbox_.put(StopRequest{}); }

void Loop::take_messages() {
  inbox_.take(messages_);
  for (const LoopMessage& message : messages_)
    std::visit([this](const auto& m) { apply(m); }, message);
  exports_.expire();
}

bool Loop::turn() {
  turn_began_ns_ = clock_.now().ns;
  const bool did = turn_once();
  turn_began_ns_ = kBetweenTurns;
  return did;
}

Duration Loop::running_for() const {
  const int64_t began = turn_began_ns_;
  return began == kBetweenTurns ? Duration{} : clock_.now() - Instant{began};
}

bool Loop::turn_once() {
  take_messages();
  if (!make_plan()) {
    observe_state();
    const bool said = news_;
    if (news_) send_report();
    if (draining_ && sequences_.empty()) drained_ = true;
    return said || !messages_.empty();
  }
  const Instant began = clock_.now();
  Result<StepResult> result = engine_.step(plan_);
  const Duration took = clock_.now() - began;
  if (!result.ok()) {
    engine_status_ = result.error();
    return false;
  }
  CHECK(result->rows.size() == shares_.size(), "the engine answers every row");
  for (size_t i = 0; i < shares_.size(); ++i)
    digest(*sequences_[static_cast<size_t>(shares_[i].index)], shares_[i], plan_.rows[i],
           result->rows[i]);
  ++steps_;
  report_.step_us = static_cast<uint64_t>(std::max<int64_t>(took.ns / 1000, 1));
  observe_step(took);
  // Peers that fetch an ended sequence hear of it after the router, which would else take it for a
  // failure.
  send_report();
  for (const auto& [seq, why] : ended_) forget(seq, why);
  ended_.clear();
  observe_state();
  return true;
}

Status Loop::run() {
  while (!stopped_ && !drained_ && engine_status_.ok()) {
    if (turn() || !engine_status_.ok()) continue;
    if (stopped_ || drained_) break;
    inbox_.wait(exports_.next_deadline() - clock_.now());
  }
  exports_.refuse_waiting(dropped());
  drop_everything();  // what still runs ends here; peers that fetch from us hear it
  return engine_status_;
}

bool Loop::make_plan() {
  adopt_prefixes();
  runnable_.clear();
  int32_t decode_rows = 0;
  bool prompts = false;
  for (const auto& sequence : sequences_) {
    runnable_.push_back({.tokens = sequence->pending(),
                         .decode = sequence->phase() == Phase::decoding,
                         .drafts = sequence->drafts(limits())});
    decode_rows += runnable_.back().decode ? 1 : 0;
    prompts |= !runnable_.back().decode && runnable_.back().tokens > 0;
  }
  drafts_asked_ = speculation_.choose(decode_rows, !prompts);
  for (Runnable& r : runnable_) r.drafts = std::min(r.drafts, drafts_asked_);
  plan(runnable_, {.tokens_max = step_token_budget_, .rows_max = config_.rows_max, .turn = steps_},
       shares_);
  plan_.rows.clear();
  for (const Share& share : shares_) {
    Sequence& sequence = *sequences_[static_cast<size_t>(share.index)];
    plan_.rows.push_back(sequence.row(share.tokens, share.drafts));
    // A prompt is always followed: drafts are only as good as what the drafter saw of it.
    const int32_t wanted = speculation_.draft_next(drafts_asked_);
    const bool prompt = sequence.phase() == Phase::prefilling;
    const bool goes_on = plan_.rows.back().sample && !sequence.handoff();
    plan_.rows.back().draft_next = !speculation_.on() ? kNoDrafting
                                   : !goes_on         ? 0
                                   : prompt           ? std::max(wanted, 0)
                                                      : wanted;
  }
  return !shares_.empty();
}

void Loop::digest(Sequence& sequence, const Share& share, const StepRow& row,
                  StepRowResult& result) {
  const bool prompt_chunk = sequence.phase() == Phase::prefilling;
  if (prompt_chunk && sequence.untouched()) count_prefix(sequence);
  if (prompt_chunk)
    report_.prefill_tokens += share.tokens;
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
  out.finish = sequence.advance(share.tokens, result.tokens, limits());
  // What lies behind the end was drawn for nothing.
  const auto kept = static_cast<size_t>(sequence.emitted() - out.first);
  out.tokens.assign(result.tokens.begin(),
                    result.tokens.begin() + static_cast<std::ptrdiff_t>(kept));
  out.logprobs = std::move(result.logprobs);
  if (out.logprobs.size() > kept) out.logprobs.resize(kept);
  out.computed = sequence.computed();
  take_drafts(sequence, row, result);
  if (prompt_chunk) {
    out.cached = sequence.cached();
    publish_prefix(sequence);
  }
  if (sequence.handoff()) exports_.progress(sequence.id(), sequence.computed(), sequence.blocks());
  if (out.finish != Finish::none)
    ended_.emplace_back(sequence.id(), Error{Code::not_found, kEnded, "seq"});
  report_.rows.push_back(std::move(out));
}

void Loop::take_drafts(Sequence& sequence, const StepRow& row, StepRowResult& result) {
  if (row.drafts > 0) {
    const auto right = static_cast<int32_t>(result.tokens.size()) - 1;
    speculation_.observe_row(row.drafts, right);
    metrics_.draft_tokens.Increment(row.drafts);
    metrics_.accepted_draft_tokens.Increment(right);
    report_.drafted += row.drafts;
    report_.accepted += right;
  }
  sequence.guess(std::move(result.drafts));
}

void Loop::send_report() {
  report_.step = steps_;
  report_.free_blocks = pool_.free();
  if (!ended_.empty()) {
    std::vector<SeqId> gone;
    for (const auto& [seq, why] : ended_) gone.push_back(seq);
    report_.free_blocks += pool_.freed_by(gone);
  }
  report_.draining = draining_;
  Report report = std::exchange(report_, {});
  news_ = false;
  // Nothing about an earlier router's sequences reaches a later one.
  if (resets_asked_ == resets_applied_) sink_(std::move(report));
}

void Loop::observe_step(Duration took) {
  auto& seconds = report_.prefill_tokens == 0 ? metrics_.step_seconds_decode
                  : report_.decode_rows == 0  ? metrics_.step_seconds_prefill
                                              : metrics_.step_seconds_mixed;
  seconds.Observe(took.to_seconds());
  int32_t verified = 0;
  for (const Share& share : shares_) verified += share.drafts;
  speculation_.observe_step({.rows = report_.decode_rows,
                             .asked = drafts_asked_,
                             .verified = verified,
                             .pure = report_.prefill_tokens == 0,
                             .took = took});
  metrics_.step_rows.Observe(static_cast<double>(shares_.size()));
  if (report_.prefill_tokens > 0) metrics_.step_prefill_tokens.Observe(report_.prefill_tokens);
  metrics_.prompt_tokens.Increment(report_.prefill_tokens);
  size_t drawn = 0;
  for (const Row& row : report_.rows) drawn += row.tokens.size();
  metrics_.generated_tokens.Increment(static_cast<double>(drawn));
}

void Loop::observe_state() {
  std::array<int32_t, kPhases> count{};
  int64_t owned = 0;
  for (const auto& sequence : sequences_) {
    ++count[static_cast<size_t>(sequence->phase())];
    owned += static_cast<int64_t>(sequence->blocks().size());
  }
  for (size_t i = 0; i < count.size(); ++i) metrics_.sequences[i]->Set(count[i]);
  const int32_t taken = pool_.total() - pool_.free();
  metrics_.kv_blocks_free.Set(pool_.free());
  metrics_.kv_usage_ratio.Set(pool_.total() > 0 ? static_cast<double>(taken) / pool_.total() : 0);
  metrics_.kv_blocks_of_finished.Set(static_cast<double>(pool_.owned_in_all() - owned));
  metrics_.prefix_cache_blocks.Set(pool_.kept());
}

}  // namespace fathom
