#include "worker/loop.h"

#include <algorithm>
#include <string>
#include <utility>

#include "process/log.h"

namespace fathom {

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
      pace_(config.mixed_step, engine.info().expanded_prompt_min > 0),
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
  if (flights_.empty()) {
    if (!make_plan()) {
      observe_state();
      const bool said = news_;
      if (news_) send_report();
      if (draining_ && sequences_.empty()) drained_ = true;
      return said || !messages_.empty();
    }
    if (!take_off()) return false;
  }
  if (make_plan() && !take_off()) return false;
  land();
  return engine_status_.ok();
}

Status Loop::run() {
  while (!stopped_ && !drained_ && engine_status_.ok()) {
    if (turn() || !engine_status_.ok()) continue;
    if (stopped_ || drained_) break;
    inbox_.wait(exports_.next_deadline() - clock_.now());
  }
  land_all();
  exports_.refuse_waiting(dropped());
  drop_everything();  // what still runs ends here; peers that fetch from us hear it
  return engine_status_;
}

void Loop::send_report() {
  report_.step = steps_;
  report_.free_blocks = pool_.free();
  if (!ended_.empty() || !leaving_.empty()) {
    std::vector<SeqId> gone;
    for (const auto& [seq, why] : ended_) gone.push_back(seq);
    for (const auto& sequence : leaving_) gone.push_back(sequence->id());
    report_.free_blocks += pool_.freed_by(gone);
  }
  report_.draining = draining_;
  Report report = std::exchange(report_, {});
  news_ = false;
  // Nothing about an earlier router's sequences reaches a later one.
  if (resets_asked_ == resets_applied_) sink_(std::move(report));
}

void Loop::observe_state() {
  std::array<int32_t, kPhases> count{};
  int64_t owned = 0;
  for (const auto& sequence : sequences_) {
    ++count[static_cast<size_t>(sequence->phase())];
    owned += static_cast<int64_t>(sequence->blocks().size());
  }
  for (const auto& sequence : leaving_) owned += static_cast<int64_t>(sequence->blocks().size());
  for (size_t i = 0; i < count.size(); ++i) metrics_.sequences[i]->Set(count[i]);
  const int32_t taken = pool_.total() - pool_.free();
  metrics_.kv_blocks_free.Set(pool_.free());
  metrics_.kv_usage_ratio.Set(pool_.total() > 0 ? static_cast<double>(taken) / pool_.total() : 0);
  metrics_.kv_blocks_of_finished.Set(static_cast<double>(pool_.owned_in_all() - owned));
  metrics_.prefix_cache_blocks.Set(pool_.kept());
}

}  // namespace fathom
