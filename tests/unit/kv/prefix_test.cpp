// Are prompts' beginnings found, shared and forgotten as a naive cache would, and is a block that
// somebody may read never handed out for other uses?
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <utility>

#include "kv/allocator.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Tokens = std::vector<TokenId>;

constexpr SeqId kA{1}, kB{2}, kC{3}, kD{4};

Tokens run(int32_t count, TokenId first = 0) {
  Tokens out;
  for (TokenId t = first; t < first + count; ++t) out.push_back(t);
  return out;
}

TEST(Prefix, what_ended_is_found_again_and_shared) {
  BlockPool pool(8, 4);
  pool.take(kA, 3);
  pool.publish(kA, 0, run(11));
  EXPECT_THAT(pool.shareable(0, run(11)), ElementsAre(0, 1)) << "whole blocks only";
  pool.give_back(kA);
  EXPECT_EQ(pool.free(), 8) << "a cached block is free";
  EXPECT_EQ(pool.kept(), 2);
  EXPECT_THAT(pool.shareable(0, run(7)), ElementsAre(0));
  EXPECT_THAT(pool.share(kB, pool.shareable(0, run(30))), ElementsAre(0, 1));
  EXPECT_THAT(pool.share(kC, pool.shareable(0, run(30))), ElementsAre(0, 1));
  EXPECT_EQ(pool.free(), 6);
  EXPECT_EQ(pool.owned_in_all(), 4);
  pool.give_back(kB);
  EXPECT_EQ(pool.free(), 6) << "another still owns them";
  EXPECT_EQ(pool.freed_by(std::vector{kC}), 2);
}

TEST(Prefix, other_tokens_other_places_and_other_scopes_share_nothing) {
  BlockPool pool(8, 4);
  pool.take(kA, 2);
  pool.publish(kA, 7, run(8));
  EXPECT_THAT(pool.shareable(6, run(8)), IsEmpty());
  EXPECT_THAT(pool.shareable(7, run(4, 4)), IsEmpty()) << "the second block is no beginning";
  Tokens other = run(8);
  other[5] = 99;
  EXPECT_THAT(pool.shareable(7, other), ElementsAre(0));
}

TEST(Prefix, a_running_sequence_takes_over_what_another_published_since) {
  BlockPool pool(8, 4);
  pool.take(kA, 3);
  pool.take(kB, 3);
  pool.publish(kA, 0, run(8));
  EXPECT_THAT(pool.share(kB, pool.shareable(0, run(9))), ElementsAre(0, 1, 5));
  EXPECT_EQ(pool.free(), 4) << "the two blocks it had taken are free again";
  pool.give_back(kA);
  EXPECT_THAT(pool.owned(kB), ElementsAre(0, 1, 5));
}

TEST(Prefix, of_two_that_computed_the_same_one_is_found_and_the_longer_goes_on) {
  BlockPool pool(8, 4);
  pool.take(kA, 2);
  pool.take(kB, 3);
  pool.publish(kA, 0, run(8));
  pool.publish(kB, 0, run(12));
  EXPECT_THAT(pool.shareable(0, run(12)), ElementsAre(0, 1, 4));
  pool.give_back(kA);
  pool.take(kC, 5);  // the three empty ones, then the two of A: B's third block loses its beginning
  EXPECT_THAT(pool.shareable(0, run(12)), IsEmpty());
  pool.publish(kB, 0, run(12));
  EXPECT_THAT(pool.shareable(0, run(12)), ElementsAre(2, 3, 4)) << "B's own are found now";
}

TEST(Prefix, the_longest_unused_goes_first_and_of_a_prompt_its_end) {
  BlockPool pool(6, 4);
  for (const SeqId seq : {kA, kB}) {
    pool.take(seq, 2);
    pool.publish(seq, 0, run(8, 100 * static_cast<TokenId>(seq.value)));
  }
  pool.give_back(kA);
  pool.give_back(kB);
  pool.share(kC, pool.shareable(0, run(8, 100)));  // used once more
  pool.give_back(kC);
  pool.take(kD, 3);  // the two empty ones, and one that was kept
  EXPECT_THAT(pool.shareable(0, run(8, 200)), ElementsAre(2));
  EXPECT_THAT(pool.shareable(0, run(8, 100)), ElementsAre(0, 1));
  pool.take(kD, 2);
  EXPECT_THAT(pool.shareable(0, run(8, 200)), IsEmpty());
  EXPECT_THAT(pool.shareable(0, run(8, 100)), ElementsAre(0));
}

TEST(PrefixDeathTest, an_unpublished_block_is_not_shared) {
  BlockPool pool(4, 4);
  pool.take(kA, 1);
  EXPECT_DEATH(pool.share(kB, std::vector<BlockIndex>{0}), "only published blocks");
}

// The same rules told the slow way: blocks are records, prefixes are whole token lists.
class NaivePool {
 public:
  struct Cell {
    int32_t owners = 0;
    uint64_t released = 0;
    std::optional<std::pair<PrefixScope, Tokens>> prefix;  // all tokens up to its end
  };
  NaivePool(int32_t blocks, size_t unit) : unit_(unit), cells_(static_cast<size_t>(blocks)) {}

  int32_t free() const {
    return static_cast<int32_t>(std::ranges::count(cells_, 0, &Cell::owners));
  }
  size_t shareable(PrefixScope scope, const Tokens& tokens) const {
    size_t n = 0;
    while ((n + 1) * unit_ <= tokens.size() && find(scope, tokens, n + 1)) ++n;
    return n;
  }
  void share(SeqId seq, PrefixScope scope, const Tokens& tokens) {
    const size_t n = shareable(scope, tokens);
    std::vector<size_t> prefix;
    for (size_t i = 1; i <= n; ++i) prefix.push_back(*find(scope, tokens, i));
    for (const size_t cell : prefix) ++cells_[cell].owners;
    auto& mine = owned_[seq];
    for (size_t i = std::min(n, mine.size()); i-- > 0;) release(mine[i]);
    mine.resize(std::max(n, mine.size()));
    std::ranges::copy(prefix, mine.begin());
  }
  void take(SeqId seq, int32_t n) {
    for (int32_t i = 0; i < n; ++i) {
      const auto empty =
          std::ranges::find_if(cells_, [](const Cell& c) { return c.owners == 0 && !c.prefix; });
      const size_t at =
          empty != cells_.end() ? static_cast<size_t>(empty - cells_.begin()) : forget_oldest();
      ++cells_[at].owners;
      owned_[seq].push_back(at);
    }
  }
  void publish(SeqId seq, PrefixScope scope, const Tokens& tokens) {
    const auto& mine = owned_[seq];
    for (size_t i = 1; i * unit_ <= tokens.size() && i <= mine.size(); ++i)
      if (!find(scope, tokens, i)) cells_[mine[i - 1]].prefix = {scope, first(tokens, i)};
  }
  void give_back(SeqId seq) {
    auto& mine = owned_[seq];
    for (size_t i = mine.size(); i-- > 0;) release(mine[i]);
    owned_.erase(seq);
  }

 private:
  Tokens first(const Tokens& tokens, size_t blocks) const {
    return {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(blocks * unit_)};
  }
  std::optional<size_t> find(PrefixScope scope, const Tokens& tokens, size_t blocks) const {
    const std::pair wanted{scope, first(tokens, blocks)};
    for (size_t i = 0; i < cells_.size(); ++i)
      if (cells_[i].prefix == wanted) return i;
    return std::nullopt;
  }
  void release(size_t cell) {
    if (--cells_[cell].owners == 0) cells_[cell].released = ++clock_;
  }
  size_t forget_oldest() {
    size_t oldest = cells_.size();
    for (size_t i = 0; i < cells_.size(); ++i)
      if (cells_[i].owners == 0 &&
          (oldest == cells_.size() || cells_[i].released < cells_[oldest].released))
        oldest = i;
    const auto [scope, tokens] = *cells_[oldest].prefix;
    for (Cell& cell : cells_)
      if (cell.prefix && cell.prefix->first == scope &&
          cell.prefix->second.size() >= tokens.size() &&
          std::equal(tokens.begin(), tokens.end(), cell.prefix->second.begin()))
        cell.prefix.reset();
    return oldest;
  }

  size_t unit_;
  uint64_t clock_ = 0;
  std::vector<Cell> cells_;
  std::map<SeqId, std::vector<size_t>> owned_;
};

// Drives both pools with the same random life, and checks every answer. `content` is what a worker
// would have written into each block.
struct Life {
  static constexpr int32_t kBlocks = 24;
  static constexpr size_t kUnit = 3;
  struct Running {
    Tokens prompt;
    PrefixScope scope = 0;
    size_t computed = 0;
  };
  explicit Life(uint32_t seed) : random(seed) {}

  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random() % n); }
  // Few different tokens, so that prompts often begin alike.
  Tokens prompt() {
    Tokens out(1 + below(30));
    for (TokenId& t : out) t = static_cast<TokenId>(below(6) == 0);
    return out;
  }
  Tokens until(const Running& r, size_t blocks) const {
    return {r.prompt.begin(), r.prompt.begin() + static_cast<std::ptrdiff_t>(blocks * kUnit)};
  }

  void adopt(SeqId seq) {
    Running& r = running[seq];
    const auto prefix = pool.shareable(r.scope, r.prompt);
    ASSERT_EQ(prefix.size(), naive.shareable(r.scope, r.prompt));
    pool.share(seq, prefix);
    naive.share(seq, r.scope, r.prompt);
    r.computed = prefix.size() * kUnit;
  }
  void arrive(SeqId seq) {
    Running& r = running[seq] = {prompt(), below(2), 0};
    const auto blocks = static_cast<int32_t>((r.prompt.size() + kUnit - 1) / kUnit);
    if (blocks > pool.free()) {
      running.erase(seq);
      return;
    }
    adopt(seq);
    const int32_t fresh = blocks - static_cast<int32_t>(pool.owned(seq).size());
    pool.take(seq, fresh);
    naive.take(seq, fresh);
  }
  // A chunk: what it writes must hurt nobody, which check() sees.
  void compute(SeqId seq) {
    Running& r = running[seq];
    const size_t end = std::min(r.prompt.size(), r.computed + 1 + below(9));
    for (size_t block = r.computed / kUnit; block * kUnit < end; ++block)
      content[static_cast<size_t>(pool.owned(seq)[block])] = {
          r.scope, until(r, std::min(block + 1, end / kUnit))};
    r.computed = end;
    const Tokens done(r.prompt.begin(), r.prompt.begin() + static_cast<std::ptrdiff_t>(end));
    pool.publish(seq, r.scope, done);
    naive.publish(seq, r.scope, done);
  }
  void leave(SeqId seq) {
    pool.give_back(seq);
    naive.give_back(seq);
    running.erase(seq);
  }
  void check() {
    ASSERT_EQ(pool.free(), naive.free());
    int64_t owned = 0;
    for (const auto& [seq, r] : running) {
      owned += static_cast<int64_t>(pool.owned(seq).size());
      for (size_t block = 0; (block + 1) * kUnit <= r.computed; ++block)
        ASSERT_EQ(content[static_cast<size_t>(pool.owned(seq)[block])],
                  std::pair(r.scope, until(r, block + 1)))
            << "somebody wrote into its block";
    }
    ASSERT_EQ(pool.owned_in_all(), owned);
    const Tokens probe = prompt();
    const PrefixScope scope = below(2);
    const auto found = pool.shareable(scope, probe);
    ASSERT_EQ(found.size(), naive.shareable(scope, probe));
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_EQ(content[static_cast<size_t>(found[i])],
                std::pair(scope, Tokens(probe.begin(), probe.begin() + static_cast<std::ptrdiff_t>(
                                                                           (i + 1) * kUnit))));
  }

  std::mt19937 random;
  BlockPool pool{kBlocks, kUnit};
  NaivePool naive{kBlocks, kUnit};
  std::map<SeqId, Running> running;
  std::vector<std::pair<PrefixScope, Tokens>> content{kBlocks};
};

TEST(Prefix, random_lives_agree_with_a_naive_cache) {
  size_t adopted = 0;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    Life life(seed);
    for (int i = 0; i < 400; ++i) {
      const SeqId seq{life.below(8)};
      const auto at = life.running.find(seq);
      if (at == life.running.end()) {
        life.arrive(seq);
        if (life.running.contains(seq)) adopted += life.running[seq].computed;
      } else if (at->second.computed == 0 && life.below(2) == 0) {
        life.adopt(seq);  // again, before its first chunk
      } else if (life.below(3) == 0) {
        life.leave(seq);
      } else {
        life.compute(seq);
      }
      life.check();
      if (HasFatalFailure()) FAIL() << "seed " << seed << " move " << i;
    }
  }
  EXPECT_GT(adopted, 1000u) << "the cache was used";
}

}  // namespace
}  // namespace fathom
