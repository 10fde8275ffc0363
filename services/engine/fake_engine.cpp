#include "engine/fake_engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>

#include "base/philox.h"
#include "kv/pool.h"

namespace fathom {
namespace {

// What one position keeps: its token, and the chain of all tokens up to it.
struct Slot {
  TokenId token = 0;
  int32_t position = 0;
  uint64_t chain = 0;
};
constexpr int32_t kSlotValues = sizeof(Slot) / sizeof(float);

constexpr uint64_t kChainStart = 0x46617468'6f6d2121;

uint64_t extend(uint64_t chain, TokenId token, int32_t position) {
  uint64_t x = chain ^ (static_cast<uint64_t>(static_cast<uint32_t>(token)) << 32) ^
               static_cast<uint32_t>(position);
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
  return x ^ (x >> 32);
}

// position is that of the token being drawn.
TokenId draw(const FakeEngineConfig& c, uint64_t chain, int32_t position, const Sampling& s) {
  for (const auto& [token, bias] : s.logit_bias)
    if (bias >= 100) return token;
  const uint64_t key = s.temperature > 0 ? chain ^ philox_seed(s.seed, 1) : chain;
  const auto span = static_cast<double>(c.vocab - c.first_token);
  return c.first_token +
         static_cast<TokenId>(philox_uniform(key, static_cast<uint64_t>(position)) * span);
}

// Plausible numbers: the drawn token first, others below it, never above zero.
TokenLogprob invent_logprob(const FakeEngineConfig& c, uint64_t chain, TokenId token,
                            int32_t alternatives) {
  TokenLogprob out;
  out.logprob = -0.05f - static_cast<float>(philox_uniform(chain, 0, 1));
  float logprob = out.logprob;
  const int32_t count = std::min(alternatives, c.vocab);
  for (int32_t i = 0; i < count; ++i) {
    out.top.push_back({(token + i) % c.vocab, logprob});
    logprob -= 0.05f + static_cast<float>(philox_uniform(chain, static_cast<uint64_t>(i), 2));
  }
  return out;
}

// A row with all it refers to, but for lists that are not read here.
struct OwnedRow {
  explicit OwnedRow(const StepRow& row)
      : tokens(row.tokens.begin(), row.tokens.end()),
        blocks(row.blocks.begin(), row.blocks.end()),
        targets(row.targets.begin(), row.targets.end()),
        as_planned(row) {
    if (row.sample) sampling = *row.state.sampling;
  }
  StepRow row() const {
    StepRow out = as_planned;
    out.tokens = tokens;
    out.blocks = blocks;
    out.targets = targets;
    out.state = {.sampling = &sampling, .emitted = as_planned.state.emitted};
    return out;
  }
  std::vector<TokenId> tokens;
  std::vector<BlockIndex> blocks;
  std::vector<TokenId> targets;
  Sampling sampling;
  StepRow as_planned;
};

class FakeEngine final : public Engine {
 public:
  FakeEngine(FakeEngineConfig config, KvPool pool)
      : config_(std::move(config)), pool_(std::move(pool)) {
    info_ = {.model = config_.model,
             .model_digest = config_.model_digest,
             .kv = pool_.layout(),
             .blocks = config_.blocks,
             .context_max = config_.context_max,
             .vocab = config_.vocab,
             .tensor_parallel = 1,
             .compute = "float32",
             .drafts_max = config_.drafts_max,
             .steps_ahead = config_.steps_ahead};
  }
  const EngineInfo& info() const override { return info_; }

  Status begin(const Plan& plan) override {
    check_flight(plan);
    begun_.emplace_back();
    for (const auto& row : plan.rows) begun_.back().emplace_back(row);
    return {};
  }

  // Here the step is computed: as late as it may be, so that a block which is given away too early
  // is damaged.
  Result<StepResult> finish() override {
    CHECK(!begun_.empty(), "no step is in flight");
    StepResult out;
    out.rows.reserve(begun_.front().size());
    int64_t tokens = 0;
    for (OwnedRow& owned : begun_.front()) {
      tokens += static_cast<int64_t>(owned.tokens.size());
      out.rows.push_back(run(owned.row()));
    }
    begun_.pop_front();
    if (!begun_.empty()) feed(begun_.front(), out);
    if (config_.wait) config_.wait(config_.step_base + config_.step_per_token * tokens);
    return out;
  }

  Status export_block(BlockIndex block, std::span<std::byte> out) const override {
    const auto bytes = pool_.block(block);
    CHECK(out.size() == bytes.size());
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return {};
  }

  Status import_block(BlockIndex block, std::span<const std::byte> in) override {
    const auto bytes = pool_.block(block);
    CHECK(in.size() == bytes.size());
    std::memcpy(bytes.data(), in.data(), bytes.size());
    return {};
  }

 private:
  void check_flight(const Plan& plan) const {
    CHECK(begun_.size() < 2 && (begun_.empty() || config_.steps_ahead), "a step is in flight");
    for (const auto& row : plan.rows) {
      CHECK(begun_.empty() || decodes_plainly(row), "only plain rows run ahead");
      CHECK(row.token_of_row < 0 ||
                (!begun_.empty() && static_cast<size_t>(row.token_of_row) < begun_.front().size()),
            "a row goes on from no draw");
    }
    if (begun_.empty()) return;
    for (const auto& row : begun_.front())
      CHECK(decodes_plainly(row.as_planned), "nothing runs ahead of other rows than plain ones");
  }

  static void feed(std::vector<OwnedRow>& rows, const StepResult& drawn) {
    for (OwnedRow& row : rows)
      if (const int32_t from = row.as_planned.token_of_row; from >= 0)
        row.tokens[0] = drawn.rows[static_cast<size_t>(from)].tokens.back();
  }

  std::byte* slot(const StepRow& row, int32_t position) {
    const int32_t block = position / config_.block_tokens;
    return pool_.block(row.blocks[static_cast<size_t>(block)])
        .subspan(static_cast<size_t>(position % config_.block_tokens) * sizeof(Slot))
        .data();
  }

  // The chain of positions [0, position), as the blocks have it.
  uint64_t read_chain(const StepRow& row) {
    uint64_t chain = kChainStart;
    const int32_t first = config_.read_everything ? 0 : std::max(row.position - 1, 0);
    for (int32_t p = first; p < row.position; ++p) {
      Slot s;
      std::memcpy(&s, slot(row, p), sizeof(s));
      // A slot of another position or with a broken chain poisons what follows, as wrong KV would.
      chain = config_.read_everything ? extend(chain, s.token, s.position) : s.chain;
      if (chain != s.chain || s.position != p) chain = ~chain;
    }
    return chain;
  }

  StepRowResult run(const StepRow& row) {
    CHECK(!row.tokens.empty() && row.position >= 0);
    CHECK(row.drafts >= 0 && static_cast<size_t>(row.drafts) < row.tokens.size());
    CHECK(row.drafts == 0 || (row.sample && row.targets.empty()), "drafts are for drawing rows");
    const int64_t end = row.position + static_cast<int64_t>(row.tokens.size());
    CHECK(blocks_for(end, config_.block_tokens) <= static_cast<int64_t>(row.blocks.size()),
          "the block table does not cover the row");
    StepRowResult out;
    uint64_t chain = read_chain(row);
    const size_t known = row.tokens.size() - static_cast<size_t>(row.drafts);
    for (size_t i = 0; i < known; ++i) {
      chain = write(row, i, chain);
      if (i < row.targets.size() && row.targets[i] >= 0)
        out.target_logprobs.push_back(
            invent_logprob(config_, chain, row.targets[i], row.target_alternatives));
    }
    if (!row.sample) return out;
    chain = verify(row, known, chain, out);
    guess(row, chain, out);
    return out;
  }

  // Puts tokens[i] into its slot; the chain with it.
  uint64_t write(const StepRow& row, size_t i, uint64_t chain) {
    const int32_t p = row.position + static_cast<int32_t>(i);
    chain = extend(chain, row.tokens[i], p);
    const Slot s{row.tokens[i], p, chain};
    std::memcpy(slot(row, p), &s, sizeof(s));
    return chain;
  }

  // Draws after the known tokens and after each right draft. Every draft leaves its slot, as in a
  // model; only the chain of the right ones goes on.
  uint64_t verify(const StepRow& row, size_t known, uint64_t chain, StepRowResult& out) {
    const Sampling& sampling = *row.state.sampling;
    uint64_t kept = chain;
    for (size_t i = known;; ++i) {
      const bool right =
          i == known || (out.tokens.size() == i - known && out.tokens.back() == row.tokens[i - 1]);
      if (right) {
        kept = chain;
        out.tokens.push_back(
            draw(config_, chain, row.position + static_cast<int32_t>(i), sampling));
        if (sampling.logprobs >= 0)
          out.logprobs.push_back(
              invent_logprob(config_, chain, out.tokens.back(), sampling.logprobs));
      }
      if (i == row.tokens.size()) return kept;
      chain = write(row, i, chain);
    }
  }

  // Guesses what will be drawn after out.tokens, of which `chain` lacks the last.
  void guess(const StepRow& row, uint64_t chain, StepRowResult& out) const {
    auto position = row.position + static_cast<int32_t>(row.tokens.size()) - row.drafts +
                    static_cast<int32_t>(out.tokens.size()) - 1;
    TokenId last = out.tokens.back();
    for (int32_t i = 0; i < std::min(row.draft_next, config_.drafts_max); ++i) {
      chain = extend(chain, last, position++);
      last = draw(config_, chain, position, *row.state.sampling);
      if (philox_uniform(chain, static_cast<uint64_t>(position), 3) >= config_.draft_acceptance)
        last = last + 1 < config_.vocab ? last + 1 : config_.first_token;
      out.drafts.push_back(last);
    }
  }

  FakeEngineConfig config_;
  KvPool pool_;
  EngineInfo info_;
  std::deque<std::vector<OwnedRow>> begun_;  // and not finished
};

}  // namespace

std::unique_ptr<Engine> make_fake_engine(FakeEngineConfig config) {
  CHECK(config.vocab > config.first_token && config.block_tokens > 0 && config.blocks > 0);
  const KvLayout layout{.kind = "fake",
                        .dtype = "f32",
                        .layers = 1,
                        .width = kSlotValues,
                        .block_tokens = config.block_tokens,
                        .block_bytes = static_cast<int64_t>(sizeof(Slot)) * config.block_tokens};
  auto pool = KvPool::make(layout, config.blocks);
  CHECK(pool.ok(), "no memory for a fake pool");
  return std::make_unique<FakeEngine>(std::move(config), std::move(pool).value());
}

TokenId expected_token(const FakeEngineConfig& config, std::span<const TokenId> tokens,
                       const Sampling& sampling) {
  uint64_t chain = kChainStart;
  for (size_t i = 0; i < tokens.size(); ++i)
    chain = extend(chain, tokens[i], static_cast<int32_t>(i));
  return draw(config, chain, static_cast<int32_t>(tokens.size()), sampling);
}

}  // namespace fathom
