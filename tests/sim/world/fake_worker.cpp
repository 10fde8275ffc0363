#include "tests/sim/world/fake_worker.h"

#include <algorithm>

#include "tests/sim/world/chain.h"
#include "tests/sim/world/violation.h"

namespace fathom::sim {

void FakeWorker::apply(const Edits& edits) {
  for (const Edit& edit : edits) {
    std::visit([this](const auto& e) { apply_one(e); }, edit);
  }
}

void FakeWorker::hold(Sequence& sequence, int32_t blocks) {
  require(blocks >= 0, "an edit takes blocks away");
  sequence.blocks += blocks;
  held_ += blocks;
  require(held_ <= spec_.blocks, "a worker was promised more blocks than it has");
}

FakeWorker::Sequence& FakeWorker::insert(SeqId seq, int32_t blocks) {
  require(!sequences_.contains(seq), "a sequence id was used twice on a worker", seq.value);
  Sequence& sequence = sequences_[seq];
  sequence.arrival = ++arrivals_;
  hold(sequence, blocks);
  require(static_cast<int32_t>(sequences_.size()) <= spec_.rows_max,
          "more sequences than rows_max");
  return sequence;
}

void FakeWorker::erase(SeqId seq) {
  const auto it = sequences_.find(seq);
  if (it == sequences_.end()) return;
  held_ -= it->second.blocks;
  sequences_.erase(it);
}

void FakeWorker::forget_everything() {
  sequences_.clear();
  plan_.clear();
  new_receives_.clear();
  complaints_.clear();
  held_ = 0;
}

void FakeWorker::apply_one(const Prefill& edit) {
  require(spec_.role != Role::decode, "a decode worker was told to prefill");
  Sequence& sequence = insert(edit.seq, edit.blocks);
  sequence.tokens = edit.tokens;
  sequence.prompt_tokens = edit.prompt_tokens;
  sequence.sampling = edit.sampling;
  sequence.lease = edit.lease;
  sequence.handoff = edit.handoff;
  sequence.scores = edit.lease == 0;
  sequence.key = edit.key;
  sequence.decodes = true;
  sequence.resident = true;
  const int64_t needed = static_cast<int64_t>(edit.tokens.size()) + edit.lease;
  require(edit.blocks >= blocks_for(needed, spec_.block_tokens), "a prefill without its blocks");
  require(needed <= spec_.context_max, "a prefill beyond the context");
  require(!edit.handoff || edit.lease == 1, "a handoff emits one token");
  const int32_t emitted = static_cast<int32_t>(edit.tokens.size()) - edit.prompt_tokens;
  require(emitted + edit.lease <= edit.sampling.max_tokens, "a lease beyond max_tokens");
}

void FakeWorker::apply_one(const Receive& edit) {
  require(spec_.role != Role::prefill, "a prefill worker was told to receive");
  Sequence& sequence = insert(edit.seq, edit.blocks);
  sequence.receive_tokens = edit.tokens;
  sequence.ticket = edit.ticket;
  new_receives_.push_back(edit.seq);
}

void FakeWorker::apply_one(const Decode& edit) {
  const auto it = sequences_.find(edit.seq);
  if (it == sequences_.end()) {  // its transfer failed, which the router will hear before this
    complaints_.push_back({edit.seq, invalid("no such sequence was received", "seq")});
    return;
  }
  Sequence& sequence = it->second;
  require(!sequence.decodes, "a sequence was told to decode twice");
  require(static_cast<int32_t>(edit.tokens.size()) == sequence.receive_tokens + 1,
          "a decode that does not continue what was received");
  sequence.tokens = edit.tokens;
  sequence.prompt_tokens = edit.prompt_tokens;
  sequence.sampling = edit.sampling;
  sequence.lease = edit.lease;
  sequence.decodes = true;
  const int64_t reach = static_cast<int64_t>(edit.tokens.size()) + edit.lease;
  require(sequence.blocks >= blocks_for(reach, spec_.block_tokens), "a decode without its blocks");
  require(reach <= spec_.context_max, "a decode beyond the context");
}

void FakeWorker::apply_one(const Renew& edit) {
  const auto it = sequences_.find(edit.seq);
  if (it == sequences_.end()) return;
  Sequence& sequence = it->second;
  require(sequence.decodes, "a renewal before the sequence has its tokens");
  hold(sequence, edit.blocks);
  sequence.lease += edit.lease;
  const int64_t reach = static_cast<int64_t>(sequence.tokens.size()) + sequence.lease;
  require(sequence.blocks >= blocks_for(reach, spec_.block_tokens), "a renewal without its blocks");
  require(reach <= spec_.context_max, "a renewal beyond the context");
  require(reach - sequence.prompt_tokens <= sequence.sampling.max_tokens,
          "a renewal beyond max_tokens");
}

bool FakeWorker::may_run(const Sequence& sequence) const {
  if (!sequence.decodes || !sequence.resident || sequence.done) return false;
  return sequence.lease > 0 || sequence.scores;
}

int32_t FakeWorker::begin_step() {
  plan_.clear();
  std::vector<std::pair<int32_t, SeqId>> decode, prompts;
  for (const auto& [seq, sequence] : sequences_) {
    if (!may_run(sequence)) continue;
    const int32_t left = static_cast<int32_t>(sequence.tokens.size()) - sequence.computed();
    (left == 1 ? decode : prompts).emplace_back(sequence.arrival, seq);
  }
  std::sort(decode.begin(), decode.end());
  std::sort(prompts.begin(), prompts.end());
  int32_t budget = step_budget_;
  for (const auto& [arrival, seq] : decode) {
    if (budget == 0) break;
    plan_.push_back({seq, 1});
    --budget;
  }
  for (const auto& [arrival, seq] : prompts) {
    if (budget == 0) break;
    const Sequence& sequence = sequences_.at(seq);
    const int32_t left = static_cast<int32_t>(sequence.tokens.size()) - sequence.computed();
    const int32_t chunk = std::min(left, budget);
    plan_.push_back({seq, chunk});
    budget -= chunk;
  }
  return step_budget_ - budget;
}

void FakeWorker::compute(Sequence& sequence, int32_t tokens, Row& row) const {
  for (int32_t i = 0; i < tokens; ++i) {
    const int32_t position = sequence.computed();
    const uint64_t before = sequence.kv.empty() ? kKvStart : sequence.kv.back();
    sequence.kv.push_back(kv_after(before, sequence.tokens[static_cast<size_t>(position)]));
    const bool scored = position > 0 && position < sequence.prompt_tokens;
    if (scored && sequence.sampling.prompt_logprobs >= 0) {
      row.prompt_logprobs.push_back({.logprob = prompt_logprob(sequence.kv.back())});
    }
  }
  require(sequence.computed() <= sequence.blocks * spec_.block_tokens,
          "a sequence grew beyond its blocks");
}

void FakeWorker::emit(Sequence& sequence, Row& row) const {
  const TokenId token = next_token(sequence.kv.back(), sequence.sampling.seed);
  const int32_t before = static_cast<int32_t>(sequence.tokens.size()) - sequence.prompt_tokens;
  if (row.tokens.empty()) row.first = before;
  row.tokens.push_back(token);
  if (sequence.sampling.logprobs >= 0) row.logprobs.push_back({.logprob = -1.0f});
  sequence.tokens.push_back(token);
  --sequence.lease;
  const auto& stops = sequence.sampling.stop_tokens;
  const int32_t emitted = before + 1;
  if (emitted > sequence.sampling.min_tokens &&
      std::find(stops.begin(), stops.end(), token) != stops.end()) {
    row.finish = Finish::stop;
  } else if (emitted >= sequence.sampling.max_tokens) {
    row.finish = Finish::length;
  }
  if (sequence.handoff || row.finish != Finish::none) sequence.done = true;
}

void FakeWorker::emit_more(Sequence& sequence, int32_t right, Row& row) const {
  for (; right > 0 && row.finish == Finish::none && sequence.lease > 0; --right) {
    compute(sequence, 1, row);
    row.computed = sequence.computed();
    emit(sequence, row);
  }
}

namespace {

// A row with tokens is lost, comes twice, or holds more than was leased.
void report_nonsense(Row row, int kind, bool more_will_come, std::vector<Row>& rows) {
  const bool news = !row.tokens.empty();
  if (kind == 0 && news && more_will_come && row.prompt_logprobs.empty()) return;
  if (kind == 1 && news) rows.push_back(row);
  if (kind == 2 && news) row.tokens.resize(row.tokens.size() + 1000, 1);
  rows.push_back(std::move(row));
}

}  // namespace

Report FakeWorker::end_step(Dice& dice, const WorkerFaults& faults) {
  Report report{.step = ++steps_, .step_us = 1};
  for (const PlannedRow& planned : std::exchange(plan_, {})) {
    const auto it = sequences_.find(planned.seq);
    if (it == sequences_.end()) continue;
    if (dice.chance(faults.nan)) {
      report.failed.push_back({planned.seq, {Code::internal, "not a number", ""}});
      erase(planned.seq);
      continue;
    }
    if (dice.chance(faults.flaky)) {
      report.failed.push_back({planned.seq, {Code::unavailable, "flaky", ""}});
      erase(planned.seq);
      continue;
    }
    Sequence& sequence = it->second;
    Row row{.seq = planned.seq};
    compute(sequence, planned.tokens, row);
    row.computed = sequence.computed();
    if (sequence.computed() == static_cast<int32_t>(sequence.tokens.size())) {
      if (sequence.scores) {
        row.finish = Finish::length;
      } else {
        emit(sequence, row);
        const bool decodes = planned.tokens == 1 && !sequence.handoff;
        if (decodes && spec_.drafts > 0) emit_more(sequence, dice.count(0, spec_.drafts), row);
      }
    }
    (planned.tokens == 1 ? report.decode_rows : report.prefill_tokens) += planned.tokens;
    const bool more = !sequence.done && sequence.lease > 0;
    if (row.finish != Finish::none && !sequence.handoff) erase(planned.seq);
    if (dice.chance(faults.nonsense)) {
      report_nonsense(std::move(row), dice.count(0, 2), more, report.rows);
    } else {
      report.rows.push_back(std::move(row));
    }
  }
  report.free_blocks = free_blocks();
  return report;
}

std::optional<int32_t> FakeWorker::ready(SeqId seq, uint64_t key) const {
  const auto it = sequences_.find(seq);
  if (it == sequences_.end()) return std::nullopt;
  require(it->second.handoff && it->second.key == key, "a ticket for something else", seq.value);
  return it->second.computed();
}

bool FakeWorker::receiving(SeqId seq) const {
  const auto it = sequences_.find(seq);
  return it != sequences_.end() && !it->second.resident;
}

void FakeWorker::received(SeqId seq, const std::vector<uint64_t>& kv, int32_t upto) {
  Sequence& sequence = sequences_.at(seq);
  sequence.kv.assign(kv.begin(), kv.begin() + upto);
  sequence.resident = upto == sequence.receive_tokens;
}

}  // namespace fathom::sim
