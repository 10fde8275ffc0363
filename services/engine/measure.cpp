#include "engine/measure.h"

#include <algorithm>
#include <numeric>

#include "base/philox.h"

namespace fathom {
namespace {

// One sequence with a prompt and blocks of its own.
struct Sequence {
  std::vector<TokenId> prompt;
  std::vector<BlockIndex> blocks;
  std::vector<TokenId> row;  // the last token, then its drafts
  int32_t position = 0;      // of row[0]
};

// Several, side by side in the pool. Their prompts differ: rows that agree would choose the same
// experts, and a batch of them would read little more than one row does.
class Sequences {
 public:
  Sequences(Engine& engine, int32_t count, int32_t prompt_tokens, int32_t positions)
      : engine_(engine), all_(static_cast<size_t>(count)) {
    const int32_t vocab = engine.info().vocab;
    BlockIndex next = 0;
    uint64_t seed = 0;
    for (Sequence& s : all_) {
      ++seed;
      s.prompt.resize(static_cast<size_t>(prompt_tokens));
      for (size_t i = 0; i < s.prompt.size(); ++i)
        s.prompt[i] = static_cast<TokenId>(philox_uniform(seed, i) * vocab);
      s.blocks.resize(static_cast<size_t>(blocks_for(positions, engine.info().kv.block_tokens)));
      std::iota(s.blocks.begin(), s.blocks.end(), next);
      next += static_cast<BlockIndex>(s.blocks.size());
    }
  }

  // The whole prompt of one sequence, in chunks; `drafts` as for decode().
  Status prefill(size_t sequence, int32_t chunk, int32_t drafts = 0) {
    Sequence& s = all_[sequence];
    const auto total = static_cast<int32_t>(s.prompt.size());
    for (int32_t at = 0; at < total; at += chunk) {
      const int32_t n = std::min(chunk, total - at);
      plan_.rows.clear();
      s.position = at;
      add(s, std::span(s.prompt).subspan(static_cast<size_t>(at), static_cast<size_t>(n)), drafts);
      plan_.rows.back().sample = at + n == total;
      if (at + n < total)
        plan_.rows.back().next_token = s.prompt[static_cast<size_t>(at) + static_cast<size_t>(n)];
      FATHOM_CHECKED(run({&s}));
    }
    return {};
  }

  // One step of every sequence, which guesses `drafts` tokens ahead.
  Status decode(int32_t drafts) {
    plan_.rows.clear();
    std::vector<Sequence*> who;
    for (Sequence& s : all_) {
      who.push_back(&s);
      add(s, s.row, drafts);
      plan_.rows.back().drafts = static_cast<int32_t>(s.row.size()) - 1;
      plan_.rows.back().sample = true;
    }
    return run(who);
  }

  // Many steps without guesses, each begun before the last one is waited for where the engine can.
  Status decode_steps(int32_t count) {
    if (!engine_.info().steps_ahead) {
      for (int32_t k = 0; k < count; ++k) FATHOM_CHECKED(decode(0));
      return {};
    }
    for (int32_t k = 0; k <= count; ++k) {
      if (k < count) FATHOM_CHECKED(begin_plain(k > 0));
      if (k > 0) FATHOM_CHECKED(finish_plain());
    }
    return {};
  }

  int64_t drawn() const { return drawn_; }
  int64_t verified() const { return verified_; }

 private:
  void add(const Sequence& s, std::span<const TokenId> tokens, int32_t drafts) {
    plan_.rows.push_back({.tokens = tokens,
                          .position = s.position,
                          .prompt_tokens = static_cast<int32_t>(s.prompt.size()),
                          .blocks = s.blocks,
                          .state = {.sampling = &sampling_},
                          .draft_next = drafts > 0 ? drafts : kNoDrafting});
  }
  // `ahead`: the step that draws their tokens is in flight.
  Status begin_plain(bool ahead) {
    plan_.rows.clear();
    for (const Sequence& s : all_) {
      add(s, std::span(s.row).first(1), 0);
      StepRow& row = plan_.rows.back();
      row.sample = true;
      if (!ahead) continue;
      ++row.position;
      row.token_of_row = static_cast<int32_t>(plan_.rows.size()) - 1;
    }
    return engine_.begin(plan_);
  }
  Status finish_plain() {
    FATHOM_TRY(StepResult result, engine_.finish());
    for (size_t i = 0; i < all_.size(); ++i) {
      StepRowResult& row = result.rows[i];
      FATHOM_CHECKED(row.status);
      ++all_[i].position;
      ++drawn_;
      all_[i].row.assign(1, row.tokens.back());
    }
    return {};
  }
  Status run(const std::vector<Sequence*>& who) {
    FATHOM_TRY(StepResult result, engine_.step(plan_));
    for (size_t i = 0; i < who.size(); ++i) {
      StepRowResult& row = result.rows[i];
      FATHOM_CHECKED(row.status);
      if (!plan_.rows[i].sample) continue;
      const auto known = static_cast<int32_t>(plan_.rows[i].tokens.size()) - plan_.rows[i].drafts;
      who[i]->position += known + static_cast<int32_t>(row.tokens.size()) - 1;
      drawn_ += static_cast<int64_t>(row.tokens.size());
      verified_ += plan_.rows[i].drafts;
      who[i]->row.assign(1, row.tokens.back());
      who[i]->row.insert(who[i]->row.end(), row.drafts.begin(), row.drafts.end());
    }
    return {};
  }

  Engine& engine_;
  Sampling sampling_{.temperature = 0};
  std::vector<Sequence> all_;
  int64_t drawn_ = 0, verified_ = 0;
  Plan plan_;
};

bool fits(const EngineInfo& info, int32_t sequences, int32_t positions) {
  return positions <= info.context_max &&
         int64_t{sequences} * blocks_for(positions, info.kv.block_tokens) <= info.blocks;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

Result<PrefillFigure> measure_prefill(Engine& engine, const MeasurePlan& plan, int32_t tokens,
                                      const Clock& clock) {
  Sequences sequences(engine, 1, tokens, tokens);
  std::vector<double> seconds;
  for (int32_t i = 0; i <= plan.repeats; ++i) {
    const Instant start = clock.now();
    FATHOM_CHECKED(sequences.prefill(0, plan.chunk));
    if (i > 0) seconds.push_back((clock.now() - start).to_seconds());
  }
  const double s = median(seconds);
  return PrefillFigure{
      .prompt_tokens = tokens, .seconds = s, .tokens_per_second = s > 0 ? tokens / s : 0};
}

int32_t positions_of(const MeasurePlan& plan, int32_t drafts) {
  // Every step may draw all its drafts and one token more, and guess as far again.
  return plan.decode_context + (plan.decode_steps * (plan.repeats + 1) + 1) * (1 + drafts);
}

Result<DecodeFigure> measure_decode(Engine& engine, const MeasurePlan& plan, int32_t batch,
                                    int32_t drafts, const Clock& clock) {
  Sequences sequences(engine, batch, plan.decode_context, positions_of(plan, drafts));
  for (int32_t s = 0; s < batch; ++s)
    FATHOM_CHECKED(sequences.prefill(static_cast<size_t>(s), plan.chunk, drafts));
  std::vector<double> step_seconds, rates;
  int64_t first = 0, verified = 0;
  for (int32_t i = 0; i <= plan.repeats; ++i) {
    const int64_t drawn = sequences.drawn();
    if (i == 1) first = drawn, verified = sequences.verified();
    const Instant start = clock.now();
    if (drafts == 0)
      FATHOM_CHECKED(sequences.decode_steps(plan.decode_steps));
    else
      for (int32_t k = 0; k < plan.decode_steps; ++k) FATHOM_CHECKED(sequences.decode(drafts));
    if (i == 0) continue;
    const double s = (clock.now() - start).to_seconds();
    step_seconds.push_back(s / plan.decode_steps);
    rates.push_back(s > 0 ? static_cast<double>(sequences.drawn() - drawn) / s : 0);
  }
  const int64_t rows = int64_t{batch} * plan.decode_steps * plan.repeats;
  const auto right = static_cast<double>(sequences.drawn() - first - rows);
  verified = sequences.verified() - verified;
  return DecodeFigure{.batch = batch,
                      .context = plan.decode_context,
                      .drafts = drafts,
                      .step_ms = median(step_seconds) * 1e3,
                      .acceptance = verified > 0 ? right / static_cast<double>(verified) : 0,
                      .tokens_per_second = median(rates)};
}

}  // namespace

Result<Measurement> measure_engine(Engine& engine, const MeasurePlan& plan, const Clock& clock) {
  if (plan.repeats < 1 || plan.decode_steps < 1 || plan.chunk < 1 || plan.decode_context < 1)
    return invalid("repeats, decode_steps, chunk and decode_context must be at least 1", "bench");
  if (plan.drafts < 0 || plan.drafts > engine.info().drafts_max)
    return invalid(
        "the engine guesses at most " + std::to_string(engine.info().drafts_max) + " tokens ahead",
        "drafts");
  Measurement out{.engine = engine.info()};
  for (const int32_t tokens : plan.prompt_tokens) {
    if (tokens < 1 || !fits(out.engine, 1, tokens)) continue;
    FATHOM_TRY(const auto figure, measure_prefill(engine, plan, tokens, clock));
    out.prefill.push_back(figure);
  }
  for (const int32_t batch : plan.batches) {
    for (const int32_t drafts : {0, plan.drafts}) {
      if (batch < 1 || !fits(out.engine, batch, positions_of(plan, drafts))) continue;
      FATHOM_TRY(const auto figure, measure_decode(engine, plan, batch, drafts, clock));
      out.decode.push_back(figure);
      if (plan.drafts == 0) break;
    }
  }
  return out;
}

}  // namespace fathom
