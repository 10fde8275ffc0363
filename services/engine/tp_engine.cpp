#include "engine/tp_engine.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <mutex>

#include "engine/drafting.h"
#include "engine/hello.h"
#include "engine/leader.h"
#include "engine/model_ranks.h"
#include "engine/step_sampling.h"

namespace fathom {
namespace {

Status fits(const StepRow& row, const EngineInfo& info) {
  CHECK(!row.tokens.empty() && row.position >= 0);
  CHECK(row.targets.empty() || row.targets.size() == row.tokens.size());
  CHECK(row.drafts >= 0 && static_cast<size_t>(row.drafts) < row.tokens.size());
  CHECK(row.drafts == 0 || (row.sample && row.targets.empty()), "drafts are for drawing rows");
  const int64_t end = row.position + static_cast<int64_t>(row.tokens.size());
  CHECK(blocks_for(end, info.kv.block_tokens) <= static_cast<int64_t>(row.blocks.size()),
        "blocks do not cover the row");
  for (const BlockIndex b : row.blocks) CHECK(b >= 0 && b < info.blocks, "no such block");
  if (end > info.context_max)
    return Error{Code::out_of_range,
                 "position " + std::to_string(end) + " is beyond the context of " +
                     std::to_string(info.context_max),
                 "tokens"};
  for (const TokenId t : row.tokens)
    if (row.token_of_row < 0 && (t < 0 || t >= info.vocab))
      return Error{Code::invalid_argument,
                   "a token id lies outside the vocabulary of " + std::to_string(info.vocab),
                   "tokens"};
  return {};
}

// Whether the step only draws: nothing is scored, guessed or followed by the drafter.
bool only_draws(const Plan& plan) {
  return std::ranges::all_of(plan.rows, [](const StepRow& row) {
    return row.targets.empty() && row.drafts == 0 && row.draft_next == kNoDrafting;
  });
}

class TpEngine final : public Engine {
 public:
  TpEngine(const TpEngineConfig& config, std::unique_ptr<ModelRanks> ranks, int32_t blocks)
      : config_(config),
        ranks_(std::move(ranks)),
        feed_(*ranks_, config.group.processes),
        rules_{.block_tokens = config.block_tokens,
               .expanded_prompt_min = config.expanded_prompt_min},
        drafting_(*ranks_, rules_),
        sampling_(config.logits_tap, *ranks_, drafting_) {
    const ModelConfig& m = ranks_->model();
    const std::string name =
        std::filesystem::path(config.model_dir).lexically_normal().filename().string();
    info_ = {.model = (m.architecture.empty() ? m.model_type : m.architecture) + " " + name,
             .model_digest = ranks_->digest(),
             .kv = ranks_->layout(),
             .blocks = blocks,
             .context_max = config.context_max > 0 ? std::min(config.context_max, m.context_max)
                                                   : m.context_max,
             .vocab = m.vocab,
             .tensor_parallel = config.tensor_parallel,
             .expanded_prompt_min = config.expanded_prompt_min,
             .compute = std::string(name_of(config.compute)),
             .drafts_max = config.speculative_tokens,
             .steps_ahead = config.steps_ahead.value_or(config.device.cuda),
             .weight_bytes = ranks_->loaded().bytes,
             .weight_huge_bytes = ranks_->loaded().huge_bytes};
  }

  ~TpEngine() override {
    feed_.prepare_leave();
    ranks_->threads().run([&](int32_t local) { static_cast<void>(feed_.send(local)); });
  }

  const EngineInfo& info() const override { return info_; }

  Status begin(const Plan& plan) override {
    if (!broken_.ok()) return broken_;
    check_flight(plan);
    InFlight& step = in_flight_.emplace_back();
    step.result.rows.resize(plan.rows.size());
    step.plain = std::ranges::all_of(plan.rows, decodes_plainly);
    step.draws_begun = only_draws(plan);
    lay_out(plan, step.result);
    if (step.draws_begun) sampling_.begin_step();
    step.runs = batch_.rows() > 0;
    return step.runs ? run(plan, step) : Status();
  }

  Result<StepResult> finish() override {
    if (!broken_.ok()) return broken_.error();
    CHECK(!in_flight_.empty(), "no step is in flight");
    InFlight step = std::move(in_flight_.front());
    // All ranks, and before its tokens: what a failed one did not add is in them. A step that draws
    // nothing is waited for as well: what it wrote may be read from now on.
    if (step.runs) broken_ = ranks_->reach();
    if (broken_.ok() && step.draws_begun) broken_ = sampling_.finish(step.result);
    in_flight_.pop_front();
    if (!broken_.ok()) return broken_.error();
    return std::move(step.result);
  }

  Status export_block(BlockIndex block, std::span<std::byte> out) const override {
    return ranks_->read_block(block, out);
  }

  Status import_block(BlockIndex block, std::span<const std::byte> in) override {
    return feed_.import_block(block, in);
  }

 private:
  struct InFlight {
    StepResult result;
    bool plain = false;        // every row decodes_plainly()
    bool runs = false;         // not every row failed before it began
    bool draws_begun = false;  // its tokens are fetched when it is finished
  };

  void check_flight(const Plan& plan) const {
    const size_t before = in_flight_.size();
    CHECK(before < (info_.steps_ahead ? 2 : 1), "a step is in flight");
    for (const StepRow& row : plan.rows)
      CHECK(row.token_of_row < static_cast<int32_t>(before == 0 ? 0 : draw_of_row_.size()),
            "a row goes on from no row in flight");
    CHECK(
        before == 0 || (in_flight_.back().plain && std::ranges::all_of(plan.rows, decodes_plainly)),
        "only plainly decoding rows run ahead");
  }

  // A row the model can not compute fails alone and stays out of the batch.
  void lay_out(const Plan& plan, StepResult& result) {
    batch_.clear();
    step_.sequences.clear();
    step_.fed.clear();
    step_.drawn = 0;
    step_.logit_rows.clear();
    step_.drafting.clear();
    first_rows_.clear();
    draw_of_row_.swap(draw_before_);
    draw_of_row_.assign(plan.rows.size(), -1);
    const auto draws_before = static_cast<int32_t>(uses_.size());
    uses_.clear();
    for (size_t r = 0; r < plan.rows.size(); ++r) {
      const StepRow& row = plan.rows[r];
      result.rows[r].status = fits(row, info_);
      if (row.token_of_row >= 0 && draw_before_[static_cast<size_t>(row.token_of_row)] < 0)
        result.rows[r].status =
            Error{Code::internal, "the row it goes on from draws nothing", "token_of_row"};
      if (!result.rows[r].status.ok()) continue;
      step_.sequences.push_back({row.tokens, row.position, row.prompt_tokens, row.blocks});
      const int32_t first = batch_.add(step_.sequences.back(), rules_);
      first_rows_.push_back(first);
      step_.fed.push_back(
          row.token_of_row < 0 ? -1 : draw_before_[static_cast<size_t>(row.token_of_row)]);
      if (step_.fed.back() >= 0) {
        step_.drawn = draws_before;
        batch_.feed(first, step_.fed.back());
      }
      for (size_t i = 0; i < row.tokens.size(); ++i) {
        const bool sample =
            row.sample && i + 1 + static_cast<size_t>(row.drafts) >= row.tokens.size();
        const TokenId target = row.targets.empty() ? -1 : row.targets[i];
        if (!sample && target < 0) continue;
        if (sample) draw_of_row_[r] = static_cast<int32_t>(uses_.size());
        step_.logit_rows.push_back(first + static_cast<int32_t>(i));
        uses_.push_back({r, step_.sequences.size() - 1, i, sample, target});
      }
    }
    for (const int32_t row : step_.logit_rows) batch_.want_logits(row);
    order_drafts(plan, result);
  }

  void order_drafts(const Plan& plan, const StepResult& result) {
    const auto follows = [](const StepRow& row) { return row.draft_next >= 0; };
    if (info_.drafts_max > 0 && std::ranges::any_of(plan.rows, follows)) {
      for (size_t r = 0; r < plan.rows.size(); ++r) {
        const StepRow& row = plan.rows[r];
        if (!result.rows[r].status.ok()) continue;
        step_.drafting.push_back({.draws = row.sample ? 1 + row.drafts : 0,
                                  .next_token = row.sample ? -1 : row.next_token,
                                  .draft_next = std::min(row.draft_next, info_.drafts_max)});
      }
    }
    drafting_.begin(step_, first_rows_);
  }

  Status run(const Plan& plan, InFlight& step) {
    StepResult& result = step.result;
    if (broken_ = feed_.prepare_step(step_); !broken_.ok()) return broken_;
    const LogitsSink sink = [&](int32_t first, std::span<const float> logits,
                                int32_t rows) -> Status {
      const auto at = static_cast<size_t>(first);
      if (!step.draws_begun)
        return sampling_.use(plan, std::span(uses_).subspan(at, static_cast<size_t>(rows)), logits,
                             result);
      sampling_.begin(plan, uses_, at, logits);
      return {};
    };
    std::mutex mutex;
    ranks_->threads().run([&](int32_t local) {
      Status status = feed_.send(local);
      if (status.ok() && step_.drawn > 0) status = ranks_->share_drawn(local, step_.drawn);
      if (status.ok()) status = ranks_->forward(local, batch_, sink);
      if (status.ok()) status = drafting_.run(local);
      if (status.ok()) ranks_->mark(local);
      if (status.ok()) return;
      const std::scoped_lock lock(mutex);
      if (broken_.ok()) broken_ = status;
    });
    for (const LogitUse& u : uses_)
      if (u.sample && result.rows[u.row].drafts.empty())
        result.rows[u.row].drafts = drafting_.take_guesses(u.sequence);
    return broken_;
  }

  TpEngineConfig config_;
  std::unique_ptr<ModelRanks> ranks_;
  FollowerFeed feed_;
  BatchRules rules_;
  EngineInfo info_;
  Status broken_;
  std::deque<InFlight> in_flight_;
  std::vector<int32_t> draw_of_row_,
      draw_before_;  // among its step's uses; of the step begun last,
                     // and while one is laid out of the one before
  // Reused from step to step.
  Batch batch_;
  StepBatch step_;
  std::vector<int32_t> first_rows_;  // of each sequence of the step
  Drafting drafting_;
  std::vector<LogitUse> uses_;  // of the step begun last
  StepSampling sampling_;
};

}  // namespace

std::unique_ptr<Engine> engine_of(const TpEngineConfig& config, std::unique_ptr<ModelRanks> ranks,
                                  int32_t blocks) {
  return std::make_unique<TpEngine>(config, std::move(ranks), blocks);
}

Result<std::unique_ptr<Engine>> make_tp_engine(const TpEngineConfig& config,
                                               const LoadProgress& progress) {
  if (config.group.process != 0)
    return invalid("only process 0 leads; others follow", "group.process");
  FATHOM_TRY(auto ranks, ModelRanks::load(config, progress));
  FATHOM_TRY(const int32_t blocks, ranks->count_blocks(config));
  FATHOM_TRY(auto comms, connect_group(config, ranks->digest()));
  ranks->attach(std::move(comms));
  FATHOM_CHECKED(agree(make_hello(config, *ranks, blocks), *ranks, true));
  FATHOM_CHECKED(ranks->start(blocks));
  return engine_of(config, std::move(ranks), blocks);
}

}  // namespace fathom
