#include "engine/measure.h"

#include <algorithm>
#include <numeric>

#include "base/philox.h"

namespace fathom {
namespace {

// Sequences with blocks of their own, 0 .. batch - 1, side by side in the pool.
class Sequences {
 public:
  Sequences(Engine& engine, int32_t count, int32_t prompt_tokens, int32_t positions)
      : engine_(engine),
        prompt_(static_cast<size_t>(prompt_tokens)),
        tables_(static_cast<size_t>(count)) {
    const int32_t vocab = engine.info().vocab;
    for (size_t i = 0; i < prompt_.size(); ++i)
      prompt_[i] = static_cast<TokenId>(philox_uniform(1, i) * vocab);
    BlockIndex next = 0;
    for (auto& table : tables_) {
      table.resize(static_cast<size_t>(blocks_for(positions, engine.info().kv.block_tokens)));
      std::iota(table.begin(), table.end(), next);
      next += static_cast<BlockIndex>(table.size());
    }
    tokens_.assign(tables_.size(), 0);
  }

  // The whole prompt of one sequence, in chunks.
  Status prefill(size_t sequence, int32_t chunk) {
    const auto total = static_cast<int32_t>(prompt_.size());
    for (int32_t at = 0; at < total; at += chunk) {
      const int32_t n = std::min(chunk, total - at);
      plan_.rows.clear();
      add(sequence, std::span(prompt_).subspan(static_cast<size_t>(at), static_cast<size_t>(n)), at,
          at + n == total);
      FATHOM_CHECKED(run({sequence}));
    }
    return {};
  }

  // One token of every sequence.
  Status decode(int32_t position) {
    plan_.rows.clear();
    std::vector<size_t> all(tables_.size());
    std::iota(all.begin(), all.end(), size_t{0});
    for (const size_t s : all) add(s, std::span(&tokens_[s], 1), position, true);
    return run(all);
  }

 private:
  void add(size_t sequence, std::span<const TokenId> tokens, int32_t position, bool sample) {
    plan_.rows.push_back({.tokens = tokens,
                          .position = position,
                          .prompt_tokens = static_cast<int32_t>(prompt_.size()),
                          .blocks = tables_[sequence],
                          .sample = sample,
                          .state = {.sampling = &sampling_}});
  }
  Status run(const std::vector<size_t>& who) {
    FATHOM_TRY(const StepResult result, engine_.step(plan_));
    for (size_t i = 0; i < who.size(); ++i) {
      FATHOM_CHECKED(result.rows[i].status);
      if (plan_.rows[i].sample) tokens_[who[i]] = result.rows[i].tokens.back();
    }
    return {};
  }

  Engine& engine_;
  Sampling sampling_{.temperature = 0};
  std::vector<TokenId> prompt_;
  std::vector<std::vector<BlockIndex>> tables_;
  std::vector<TokenId> tokens_;
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

Result<DecodeFigure> measure_decode(Engine& engine, const MeasurePlan& plan, int32_t batch,
                                    const Clock& clock) {
  const int32_t steps = plan.decode_steps * (plan.repeats + 1);
  Sequences sequences(engine, batch, plan.decode_context, plan.decode_context + steps);
  for (int32_t s = 0; s < batch; ++s)
    FATHOM_CHECKED(sequences.prefill(static_cast<size_t>(s), plan.chunk));
  int32_t position = plan.decode_context;
  std::vector<double> seconds;
  for (int32_t i = 0; i <= plan.repeats; ++i) {
    const Instant start = clock.now();
    for (int32_t k = 0; k < plan.decode_steps; ++k) FATHOM_CHECKED(sequences.decode(position++));
    if (i > 0) seconds.push_back((clock.now() - start).to_seconds() / plan.decode_steps);
  }
  const double s = median(seconds);
  return DecodeFigure{.batch = batch,
                      .context = plan.decode_context,
                      .step_ms = s * 1e3,
                      .tokens_per_second = s > 0 ? batch / s : 0};
}

}  // namespace

Result<Measurement> measure_engine(Engine& engine, const MeasurePlan& plan, const Clock& clock) {
  if (plan.repeats < 1 || plan.decode_steps < 1 || plan.chunk < 1 || plan.decode_context < 1)
    return invalid("repeats, decode_steps, chunk and decode_context must be at least 1", "bench");
  Measurement out{.engine = engine.info()};
  for (const int32_t tokens : plan.prompt_tokens) {
    if (tokens < 1 || !fits(out.engine, 1, tokens)) continue;
    FATHOM_TRY(const auto figure, measure_prefill(engine, plan, tokens, clock));
    out.prefill.push_back(figure);
  }
  for (const int32_t batch : plan.batches) {
    const int32_t positions = plan.decode_context + plan.decode_steps * (plan.repeats + 1);
    if (batch < 1 || !fits(out.engine, batch, positions)) continue;
    FATHOM_TRY(const auto figure, measure_decode(engine, plan, batch, clock));
    out.decode.push_back(figure);
  }
  return out;
}

}  // namespace fathom
