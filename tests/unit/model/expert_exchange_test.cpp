// Do ranks that divide experts get what one rank with all of them computes? Both kinds of exchange
// over random experts, with as many rows on each rank as there may be, none included, pass after
// pass; the kind for devices on host memory, its collectives carried by threads.
#include "model/expert_exchange.h"

#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "comm/threads.h"
#include "kernels/cpu/host_device.h"
#include "model/device_experts.h"
#include "model/host_experts.h"
#include "tests/unit/kernels/naive.h"

namespace fathom {
namespace {

constexpr int32_t kExperts = 8, kHidden = 64, kWidth = 48, kChosen = 3;

// Collectives of devices, for memory that is the host's.
class HostCollectives final : public Collectives {
 public:
  explicit HostCollectives(std::unique_ptr<Comm> comm, bool recordable = false)
      : comm_(std::move(comm)), recordable_(recordable) {}
  int rank() const override { return comm_->rank(); }
  int size() const override { return comm_->size(); }
  bool recordable() const override { return recordable_; }
  Result<int32_t> agree(int32_t word) override { return word; }
  Status all_reduce(float* data, int64_t count) override {
    return comm_->all_reduce(std::span(data, static_cast<size_t>(count)));
  }
  Status all_gather(const float* part, float* out, int64_t count) override {
    return comm_->all_gather(std::span(part, static_cast<size_t>(count)),
                             std::span(out, static_cast<size_t>(count * size())));
  }
  Status broadcast(TokenId* ids, int64_t count, int root) override {
    return comm_->broadcast(std::as_writable_bytes(std::span(ids, static_cast<size_t>(count))),
                            root);
  }
  Status finish() override { return {}; }
  Status finish(Download&) override { return {}; }
  Status status() override { return {}; }

 private:
  std::unique_ptr<Comm> comm_;
  bool recordable_;
};

struct Layer {
  std::vector<naive::Owned> owned;
  std::vector<ExpertWeights> experts;
  explicit Layer(uint32_t seed) {
    owned.reserve(3 * kExperts);
    for (uint32_t e = 0; e < kExperts; ++e) {
      owned.push_back(naive::random_weight(DType::bf16, kWidth, kHidden, seed + 3 * e));
      owned.push_back(naive::random_weight(DType::bf16, kWidth, kHidden, seed + 3 * e + 1));
      owned.push_back(naive::random_weight(DType::bf16, kHidden, kWidth, seed + 3 * e + 2));
      experts.push_back(
          {owned[owned.size() - 3].view, owned[owned.size() - 2].view, owned.back().view});
    }
  }
};

// What one rank routed.
struct Rows {
  int32_t count;
  std::vector<float> x, weights;
  std::vector<int32_t> ids;
  Rows(int32_t n, uint32_t seed)
      : count(n),
        x(naive::random_floats(static_cast<size_t>(n) * kHidden, seed, 0.3f)),
        weights(naive::random_floats(static_cast<size_t>(n) * kChosen, seed + 1)) {
    std::mt19937 generator(seed);
    for (int32_t t = 0; t < n; ++t) {
      std::vector<int32_t> all(kExperts);
      std::iota(all.begin(), all.end(), 0);
      std::shuffle(all.begin(), all.end(), generator);
      ids.insert(ids.end(), all.begin(), all.begin() + kChosen);
    }
  }
  ExpertsParams params(std::span<const ExpertWeights> experts, int32_t first,
                       std::vector<float>& out) const {
    out.assign(static_cast<size_t>(count) * kHidden, 0.25f);
    return {.x = x.data(),
            .x_stride = kHidden,
            .rows = count,
            .experts = experts,
            .first_expert = first,
            .ids = ids.data(),
            .weights = weights.data(),
            .chosen = kChosen,
            .out = out.data(),
            .out_stride = kHidden};
  }
};

ModelConfig model() {
  ModelConfig config;
  config.hidden = kHidden;
  config.experts = kExperts;
  config.experts_chosen = kChosen;
  return config;
}

std::vector<float> alone(const Layer& layer, const Rows& rows) {
  const naive::Machine m("portable");
  std::vector<float> out;
  m.ops.experts(m.ctx, rows.params(layer.experts, 0, out));
  return out;
}

struct Exchanges {
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<std::unique_ptr<ExpertExchange>> ranks;
};

Exchanges make(const std::string& kind, int32_t size, bool recordable = false) {
  Exchanges out;
  if (kind == "host") {
    out.ranks = make_host_experts(model(), size);
    return out;
  }
  auto comms = make_thread_group(size), carriers = make_thread_group(size);
  for (size_t r = 0; r < static_cast<size_t>(size); ++r) {
    out.devices.push_back(make_host_device());
    out.ranks.push_back(
        make_device_experts(model(), *out.devices.back(), std::move(comms[r]),
                            std::make_unique<HostCollectives>(std::move(carriers[r]), recordable)));
  }
  return out;
}

class ExpertExchangeOf : public ::testing::TestWithParam<std::tuple<const char*, int32_t>> {
 protected:
  std::string kind = std::get<0>(GetParam());
  int32_t size = std::get<1>(GetParam());
  Exchanges exchanges = make(kind, size);

  // One pass of two layers; who has no rows assists. What each rank got in the second one.
  std::vector<std::vector<float>> pass(const std::vector<Layer>& layers,
                                       const std::vector<Rows>& rows) {
    std::vector<std::vector<float>> out(rows.size());
    std::vector<std::thread> threads;
    for (size_t r = 0; r < rows.size(); ++r)
      threads.emplace_back([&, r] {
        const naive::Machine m("portable");
        ExpertExchange& mine = *exchanges.ranks[r];
        if (rows[r].count > 0) {
          ASSERT_TRUE(mine.begin(rows[r].count, 0).ok());
        } else {
          ASSERT_EQ(mine.join().value().what, ExpertPass::main);
        }
        const int32_t part = kExperts / size, first = part * mine.rank();
        for (const Layer& layer : layers)
          ASSERT_TRUE(mine.run(m.ctx, m.ops,
                               rows[r].params(std::span(layer.experts)
                                                  .subspan(static_cast<size_t>(first),
                                                           static_cast<size_t>(part)),
                                              first, out[r]))
                          .ok());
        ASSERT_EQ(mine.join().value().what, ExpertPass::none);
      });
    for (auto& thread : threads) thread.join();
    return out;
  }
};

TEST_P(ExpertExchangeOf, every_row_gets_what_one_rank_with_all_experts_computes) {
  std::vector<Layer> layers;
  layers.emplace_back(7);
  layers.emplace_back(900);
  std::mt19937 generator(5);
  for (uint32_t round = 0; round < 12; ++round) {
    std::vector<Rows> rows;
    int32_t all = 0;
    for (int32_t r = 0; r < size; ++r) {
      const auto n = static_cast<int32_t>(generator() % 4 == 0 ? 0 : generator() % 20);
      rows.emplace_back(n, 100 * round + static_cast<uint32_t>(r));
      all += n;
    }
    if (all == 0) continue;
    const auto got = pass(layers, rows);
    for (size_t r = 0; r < rows.size(); ++r) {
      const auto want = alone(layers[1], rows[r]);
      if (kind == "host") {
        ASSERT_EQ(got[r], want) << "round " << round << ", rank " << r;
        continue;
      }
      for (size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(got[r][i], want[i], 1e-4 * (1 + std::abs(want[i]))) << "rank " << r;
    }
  }
}

// A row's bits: wherever it stands, whatever else there is.
TEST_P(ExpertExchangeOf, a_row_has_the_same_bits_on_every_rank_and_in_any_company) {
  std::vector<Layer> layers;
  layers.emplace_back(7);
  layers.emplace_back(900);
  const Rows rows(5, 42);
  std::vector<float> first;
  for (int32_t holder = 0; holder < size; ++holder)
    for (const int32_t others : {0, 9}) {
      std::vector<Rows> all;
      for (int32_t r = 0; r < size; ++r)
        all.push_back(r == holder ? rows : Rows(others, static_cast<uint32_t>(r)));
      const auto got = pass(layers, all)[static_cast<size_t>(holder)];
      if (first.empty()) first = got;
      ASSERT_EQ(got, first) << "on rank " << holder << " beside " << others;
    }
}

TEST_P(ExpertExchangeOf, a_rank_that_leaves_lets_nobody_wait) {
  if (size == 1) return;
  std::vector<Status> ended(static_cast<size_t>(size));
  std::vector<std::thread> threads;
  for (size_t r = 0; r < ended.size(); ++r)
    threads.emplace_back([&, r] {
      ExpertExchange& mine = *exchanges.ranks[r];
      if (const auto begun = mine.begin(3, 0); !begun.ok()) ended[r] = begun.error();
      if (r == 1) return mine.leave();
      const Layer layer(7);
      const naive::Machine m("portable");
      const Rows rows(3, 1);
      std::vector<float> out;
      const int32_t part = kExperts / size, first = part * mine.rank();
      const auto experts =
          std::span(layer.experts).subspan(static_cast<size_t>(first), static_cast<size_t>(part));
      ended[r] = mine.run(m.ctx, m.ops, rows.params(experts, first, out));
    });
  for (auto& thread : threads) thread.join();
  for (size_t r = 0; r < ended.size(); ++r) {
    if (r == 1) continue;
    ASSERT_FALSE(ended[r].ok());
    EXPECT_EQ(ended[r].error().code, Code::unavailable);
    EXPECT_FALSE(exchanges.ranks[r]->begin(1, 0).ok()) << "a broken group stays broken";
  }
  EXPECT_FALSE(exchanges.ranks[1]->join().ok());
}

// What the ranks of a pass say they have, and what all hear.
struct Said {
  int32_t rows, padded;
};
PassShape shape_of(const std::vector<Said>& said, bool recordable) {
  auto exchanges = make("device", static_cast<int32_t>(said.size()), recordable);
  std::vector<PassShape> heard(said.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < said.size(); ++r)
    threads.emplace_back([&, r] {
      ExpertExchange& mine = *exchanges.ranks[r];
      heard[r] = said[r].rows > 0 ? mine.begin(said[r].rows, said[r].padded).value()
                                  : mine.join().value().shape;
    });
  for (auto& thread : threads) thread.join();
  for (const PassShape& each : heard) {
    EXPECT_EQ(each.rows, heard[0].rows);
    EXPECT_EQ(each.recorded, heard[0].recorded);
  }
  return heard[0];
}

TEST(ExpertPasses, are_recorded_for_the_largest_rank_where_nobody_must_say_its_own) {
  PassShape shape = shape_of({{3, 4}, {0, 0}, {9, 16}}, true);
  EXPECT_TRUE(shape.recorded);
  EXPECT_EQ(shape.rows, 16);
  shape = shape_of({{3, 4}, {40, 0}, {0, 0}}, true);
  EXPECT_FALSE(shape.recorded) << "one has a prompt";
  EXPECT_EQ(shape.rows, 40);
  shape = shape_of({{3, 4}, {2, 2}}, false);
  EXPECT_FALSE(shape.recorded) << "ranks that share a GPU";
  EXPECT_EQ(shape.rows, 3);
}

INSTANTIATE_TEST_SUITE_P(All, ExpertExchangeOf,
                         ::testing::Combine(::testing::Values("host", "device"),
                                            ::testing::Values(1, 2, 4)),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param)) + "_" +
                                  std::to_string(std::get<1>(instance.param));
                         });

}  // namespace
}  // namespace fathom
