// What does an edit do at a step boundary? The half of Loop that changes who runs; loop.cpp is the
// half that runs them. An edit that can not be obeyed fails its sequence: dropped, blocks freed,
// reported with the reason.
#include <algorithm>
#include <string>
#include <utility>

#include "worker/loop.h"

namespace fathom {

void Loop::drop_everything() {
  while (!sequences_.empty()) forget(sequences_.back()->id(), dropped());
}

void Loop::apply(const RouterReset& reset) {
  land_all();  // what they drew is nobody's any more
  drop_everything();
  ++resets_applied_;
  step_token_budget_ =
      reset.step_token_budget > 0 ? reset.step_token_budget : config_.step_token_budget;
  report_ = {};
  news_ = draining_;  // a new router must hear of the draining
  steps_ = 0;
}

void Loop::apply(const Edits& edits) {
  for (const Edit& each : edits) {
    const Status done = std::visit([this](const auto& e) { return edit(e); }, each);
    if (done.ok()) continue;
    std::visit(
        [&](const auto& e) {
          if constexpr (requires { e.seq; }) fail(e.seq, done.error());
        },
        each);
  }
}

void Loop::apply(const FetchEnd& end) {
  if (!imports_.take(end)) return;  // of a sequence that was dropped meanwhile
  if (!end.status.ok()) return fail(end.seq, end.status.error());
  by_id_.at(end.seq)->arrived();
  report_.resident.push_back(end.seq);
  news_ = true;
}

void Loop::apply(DrainRequest) {
  if (!draining_) news_ = true;
  draining_ = true;
  metrics_.draining.Set(1);
}

// To the router the blocks of sequences that left are free.
Status Loop::room_for(int32_t blocks) {
  if (blocks > pool_.free() && !leaving_.empty()) land_all();
  if (blocks <= pool_.free()) return {};
  return Error{Code::resource_exhausted,
               "the account is off: " + std::to_string(blocks) + " blocks were reserved, " +
                   std::to_string(pool_.free()) + " of " + std::to_string(pool_.total()) +
                   " are free",
               "blocks"};
}

Status Loop::admit(SeqId seq, int32_t blocks) {
  if (leaving(seq)) land_all();
  if (by_id_.contains(seq)) return invalid("a sequence of this id exists", "seq");
  if (static_cast<int32_t>(sequences_.size()) >= config_.rows_max)
    return Error{
        Code::resource_exhausted,
        "the account is off: this worker holds " + std::to_string(config_.rows_max) + " sequences",
        "rows_max"};
  return room_for(blocks);
}

Status Loop::edit(const Prefill& edit) {
  FATHOM_CHECKED(check_edit(edit, limits()));
  FATHOM_CHECKED(admit(edit.seq, edit.blocks));
  auto sequence = std::make_unique<Sequence>(edit, std::span<const BlockIndex>());
  Sequence& self = *sequence;
  by_id_[edit.seq] = &self;
  sequences_.push_back(std::move(sequence));
  adopt_prefix(self, edit.blocks);  // before blocks are taken, which could forget that very prefix
  const auto shared = static_cast<int32_t>(self.blocks().size());
  self.adopt(pool_.take(edit.seq, edit.blocks - shared), self.cached());
  FATHOM_CHECKED(self.covered(limits()));
  if (edit.handoff) {
    exports_.open(edit.seq, edit.key, self.blocks(), static_cast<int32_t>(edit.tokens.size()));
    exports_.progress(edit.seq, self.computed(), self.blocks());
  }
  if (self.cached() > 0)  // the router need not wait for the first chunk to know
    report_.rows.push_back({.seq = edit.seq,
                            .first = self.emitted(),
                            .computed = self.computed(),
                            .cached = self.cached()});
  return {};
}

Status Loop::edit(const Receive& edit) {
  FATHOM_CHECKED(check_edit(edit, limits()));
  FATHOM_CHECKED(admit(edit.seq, edit.blocks));
  auto sequence = std::make_unique<Sequence>(edit, pool_.take(edit.seq, edit.blocks));
  Sequence& self = *sequence;
  by_id_[edit.seq] = &self;
  sequences_.push_back(std::move(sequence));
  FATHOM_CHECKED(self.covered(limits()));
  imports_.start(edit.seq, edit.ticket, edit.tokens, self.blocks());
  return {};
}

Status Loop::edit(const Decode& edit) {
  const auto at = by_id_.find(edit.seq);
  if (at == by_id_.end()) return invalid("no such sequence was received", "seq");
  FATHOM_CHECKED(check_edit(edit, limits()));
  FATHOM_CHECKED(at->second->start(edit));
  return at->second->covered(limits());
}

Status Loop::edit(const Renew& edit) {
  if (!by_id_.contains(edit.seq)) return {};  // it ended while the renewal travelled
  FATHOM_CHECKED(check_edit(edit));
  FATHOM_CHECKED(room_for(edit.blocks));
  const auto at = by_id_.find(edit.seq);
  if (at == by_id_.end()) return {};  // it ended in the step just waited for
  FATHOM_CHECKED(at->second->renew(edit.lease, pool_.take(edit.seq, edit.blocks)));
  return at->second->covered(limits());
}

Status Loop::edit(const Drop& edit) {
  forget(edit.seq, {Code::cancelled, "the sequence was dropped", "seq"});
  return {};
}

void Loop::fail(SeqId seq, const Error& why) {
  forget(seq, why);
  report_.failed.push_back({seq, why});
  metrics_.failed_sequences.Increment();
  news_ = true;
}

void Loop::forget(SeqId seq, const Error& why) {
  if (by_id_.erase(seq) == 0) return;
  imports_.cancel(seq);
  exports_.close(seq, why);
  const auto at =
      std::ranges::find(sequences_, seq, [](const auto& sequence) { return sequence->id(); });
  leaving_.push_back(std::move(*at));
  sequences_.erase(at);
  bury();
}

bool Loop::leaving(SeqId seq) const {
  return std::ranges::any_of(leaving_, [&](const auto& gone) { return gone->id() == seq; });
}

void Loop::bury() {
  std::erase_if(leaving_, [this](const auto& gone) {
    if (gone->in_flight() > 0) return false;
    if (!pool_.owned(gone->id()).empty()) pool_.give_back(gone->id());
    return true;
  });
}

}  // namespace fathom
