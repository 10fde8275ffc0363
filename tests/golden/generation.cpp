#include "generation.h"

#include <algorithm>

namespace fathom {

EngineUnderTest::EngineUnderTest(TpEngineConfig config) : blocks_(0) {
  config.logits_tap = [this](int32_t row, int32_t position, std::span<const float> logits) {
    tap_(row, position, logits);
  };
  auto made = make_tp_engine(config);
  CHECK(made.ok(), made.ok() ? "" : made.error().text());
  engine_ = std::move(made).value();
  blocks_ = BlockPool(engine_->info().blocks);
}

EngineUnderTest::EngineUnderTest(std::unique_ptr<Engine> engine)
    : engine_(std::move(engine)), blocks_(engine_->info().blocks) {}

// Runs a set of requests on one engine, all rows of a step in one plan.
class Generation {
 public:
  Generation(EngineUnderTest& on, const std::vector<Request>& requests, uint64_t first_seq,
             const Schedule& schedule)
      : on_(&on),
        requests_(requests),
        schedule_(schedule),
        out_(requests.size()),
        guesses_(requests.size()),
        computed_(requests.size()),
        first_seq_(first_seq) {
    reserve();
  }

  void prefill(int32_t chunk) {
    while (true) {
      Plan plan;
      std::vector<size_t> who;
      std::vector<std::vector<TokenId>> targets(requests_.size());
      for (size_t i = 0; i < requests_.size(); ++i) {
        const Request& r = requests_[i];
        const int32_t left = static_cast<int32_t>(r.tokens.size()) - computed_[i];
        if (left == 0) continue;
        const int32_t n = std::min(left, chunk);
        for (int32_t p = computed_[i]; p < computed_[i] + n; ++p)
          targets[i].push_back(std::ranges::count(r.positions, p) > 0 ? 0 : -1);
        plan.rows.push_back(
            {.tokens = std::span(r.tokens).subspan(static_cast<size_t>(computed_[i]),
                                                   static_cast<size_t>(n)),
             .position = computed_[i],
             .prompt_tokens = prompt_tokens(r),
             .blocks = on_->blocks_.owned(seq(i)),
             .sample = n == left,
             .state = {.sampling = &r.sampling},
             .targets = targets[i],
             .draft_next = schedule_.prompt_drafts ? draft_next() : kNoDrafting,
             .next_token =
                 n == left ? -1
                           : r.tokens[static_cast<size_t>(computed_[i]) + static_cast<size_t>(n)]});
        who.push_back(i);
        computed_[i] += n;
      }
      if (who.empty()) return;
      run(plan, who);
    }
  }

  void decode() {
    while (true) {
      Plan plan;
      std::vector<size_t> who;
      for (size_t i = 0; i < requests_.size(); ++i) {
        const Request& r = requests_[i];
        const auto left = r.count - static_cast<int32_t>(out_[i].tokens.size());
        if (left <= 0) continue;
        auto& guesses = guesses_[i];
        guesses.resize(std::min(guesses.size(), static_cast<size_t>(left) - 1));
        guesses.insert(guesses.begin(), out_[i].tokens.back());
        plan.rows.push_back({.tokens = guesses,
                             .position = computed_[i]++,
                             .prompt_tokens = prompt_tokens(r),
                             .blocks = on_->blocks_.owned(seq(i)),
                             .sample = true,
                             .state = {.sampling = &r.sampling,
                                       .emitted = static_cast<int32_t>(out_[i].tokens.size())},
                             .drafts = static_cast<int32_t>(guesses.size()) - 1,
                             .draft_next = draft_next()});
        who.push_back(i);
      }
      if (who.empty()) return;
      run(plan, who);
    }
  }

  // As decode(), but what a step draws is read only when the next one was begun.
  void decode_ahead() {
    const TokenId unseen = 0;
    Plan plan;
    std::vector<size_t> flying;  // whose rows the step in flight has
    while (true) {
      Plan next;
      std::vector<size_t> who;
      for (size_t i = 0; i < requests_.size(); ++i) {
        const Request& r = requests_[i];
        const auto row = std::ranges::find(flying, i);
        const int32_t drawing = row != flying.end() ? 1 : 0;
        const int32_t emitted = static_cast<int32_t>(out_[i].tokens.size()) + drawing;
        if (emitted >= r.count) continue;
        next.rows.push_back(
            {.tokens = std::span(drawing > 0 ? &unseen : &out_[i].tokens.back(), 1),
             .position = computed_[i]++,
             .prompt_tokens = prompt_tokens(r),
             .blocks = on_->blocks_.owned(seq(i)),
             .sample = true,
             .state = {.sampling = &r.sampling, .emitted = emitted},
             .token_of_row = drawing > 0 ? static_cast<int32_t>(row - flying.begin()) : -1});
        who.push_back(i);
      }
      if (!who.empty()) begin_step(next, who);
      if (!flying.empty()) finish_step(plan, flying);
      if (who.empty()) return;
      flying = std::move(who);
      plan = std::move(next);
    }
  }

  void move_to(EngineUnderTest& to) {
    EngineUnderTest& from = *on_;
    std::vector<std::vector<BlockIndex>> old;
    for (size_t i = 0; i < requests_.size(); ++i) {
      const auto owned = from.blocks_.owned(seq(i));
      old.emplace_back(owned.begin(), owned.end());
      from.blocks_.give_back(seq(i));
    }
    on_ = &to;
    reserve();
    std::vector<std::byte> bytes(static_cast<size_t>(from.engine().info().kv.block_bytes));
    for (size_t i = 0; i < requests_.size(); ++i) {
      const auto used =
          static_cast<size_t>(blocks_for(computed_[i], to.engine().info().kv.block_tokens));
      for (size_t b = 0; b < used; ++b) {
        CHECK(from.engine().export_block(old[i][b], bytes).ok());
        CHECK(to.engine().import_block(to.blocks_.owned(seq(i))[b], bytes).ok());
      }
    }
  }

  std::vector<Generated> finish() {
    for (size_t i = 0; i < requests_.size(); ++i) on_->blocks_.give_back(seq(i));
    return std::move(out_);
  }

 private:
  static int32_t prompt_tokens(const Request& r) {
    return r.prompt_tokens > 0 ? r.prompt_tokens : static_cast<int32_t>(r.tokens.size());
  }
  int32_t draft_next() const { return schedule_.drafts > 0 ? schedule_.drafts : kNoDrafting; }
  SeqId seq(size_t i) const { return {first_seq_ + i}; }

  // Interleaved, so that no block table is a plain run.
  void reserve() {
    const int32_t size = on_->engine().info().kv.block_tokens;
    bool more = true;
    for (int32_t round = 1; more; ++round) {
      more = false;
      for (size_t i = 0; i < requests_.size(); ++i) {
        if (round >
            blocks_for(static_cast<int64_t>(requests_[i].tokens.size()) + requests_[i].count, size))
          continue;
        on_->blocks_.take(seq(i), 1);
        more = true;
      }
    }
  }

  void run(const Plan& plan, const std::vector<size_t>& who) {
    begin_step(plan, who);
    finish_step(plan, who);
  }

  void begin_step(const Plan& plan, const std::vector<size_t>& who) {
    on_->tap_ = [&](int32_t row, int32_t position, std::span<const float> logits) {
      out_[who[static_cast<size_t>(row)]].logits[position].assign(logits.begin(), logits.end());
    };
    const Status begun = on_->engine().begin(plan);
    CHECK(begun.ok(), begun.ok() ? "" : begun.error().text());
  }

  void finish_step(const Plan& plan, const std::vector<size_t>& who) {
    auto result = on_->engine().finish();
    CHECK(result.ok(), result.ok() ? "" : result.error().text());
    for (size_t k = 0; k < who.size(); ++k) {
      const StepRowResult& row = result->rows[k];
      CHECK(row.status.ok(), row.status.ok() ? "" : row.status.error().text());
      if (!plan.rows[k].sample) continue;
      auto& tokens = out_[who[k]].tokens;
      tokens.insert(tokens.end(), row.tokens.begin(), row.tokens.end());
      computed_[who[k]] += static_cast<int32_t>(row.tokens.size()) - 1;
      if (schedule_.counted != nullptr) {
        schedule_.counted->verified += plan.rows[k].drafts;
        schedule_.counted->right += static_cast<int32_t>(row.tokens.size()) - 1;
      }
      CHECK(row.drafts.size() <= static_cast<size_t>(schedule_.drafts));
      guesses_[who[k]] = row.drafts;
    }
  }

  EngineUnderTest* on_;
  const std::vector<Request>& requests_;
  const Schedule& schedule_;
  std::vector<Generated> out_;
  std::vector<std::vector<TokenId>> guesses_;
  std::vector<int32_t> computed_;
  uint64_t first_seq_;
};

void expect_same(const std::string& what, const std::vector<Generated>& got,
                 const std::vector<Generated>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].tokens, want[i].tokens) << what << ", prompt " << i;
    for (const auto& [position, logits] : want[i].logits)
      ASSERT_EQ(got[i].logits.at(position), logits)
          << what << ", prompt " << i << ", position " << position;
  }
}

std::vector<Generated> generate(EngineUnderTest& engine, const std::vector<Request>& requests,
                                const Schedule& schedule) {
  std::vector<Generated> out;
  const size_t group = schedule.together ? requests.size() : 1;
  for (size_t first = 0; first < requests.size(); first += group) {
    const std::vector<Request> part(requests.begin() + static_cast<std::ptrdiff_t>(first),
                                    requests.begin() + static_cast<std::ptrdiff_t>(first + group));
    Generation generation(engine, part, first, schedule);
    generation.prefill(schedule.chunk);
    if (schedule.decode_on != nullptr) generation.move_to(*schedule.decode_on);
    if (schedule.ahead)
      generation.decode_ahead();
    else
      generation.decode();
    for (auto& g : generation.finish()) out.push_back(std::move(g));
  }
  return out;
}

}  // namespace fathom
