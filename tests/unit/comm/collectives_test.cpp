// Does every kind of group give every rank the same result, down to the bits, call after call?
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <random>

#include "comm/broadcast_bytes.h"
#include "groups.h"

namespace fathom {
namespace {

std::vector<float> data_of(int rank, int round, size_t size) {
  std::mt19937 generator(static_cast<uint32_t>(rank * 1000 + round));
  std::normal_distribution<float> normal;
  std::vector<float> v(size);
  for (float& x : v) x = normal(generator) * std::exp2(static_cast<float>(generator() % 20));
  return v;
}

class Collectives : public testing::TestWithParam<Kind> {};

TEST_P(Collectives, sum_is_the_sequential_sum_in_rank_order_on_every_rank) {
  Ranks ranks = GetParam().make();
  const int n = static_cast<int>(ranks.size());
  for (int i = 0; i < n; ++i) {
    ASSERT_EQ(ranks[static_cast<size_t>(i)]->rank(), i);
    ASSERT_EQ(ranks[static_cast<size_t>(i)]->size(), n);
  }
  on_all(ranks, [n](Comm& comm) {
    for (int round = 0; round < 60; ++round) {
      const size_t size = round % 30 == 29 ? 300'000 : static_cast<size_t>(round * 7);
      auto data = data_of(comm.rank(), round, size);
      auto want = data_of(0, round, size);
      for (int r = 1; r < n; ++r) {
        const auto x = data_of(r, round, size);
        for (size_t i = 0; i < size; ++i) want[i] += x[i];
      }
      ASSERT_TRUE(comm.all_reduce(data).ok());
      ASSERT_EQ(data, want) << "rank " << comm.rank() << " round " << round;
    }
  });
}

TEST_P(Collectives, gather_lays_ranks_side_by_side_even_in_place) {
  Ranks ranks = GetParam().make();
  const int n = static_cast<int>(ranks.size());
  on_all(ranks, [n](Comm& comm) {
    for (int round = 0; round < 20; ++round) {
      const size_t size = static_cast<size_t>(1 + round * 13);
      std::vector<float> want;
      for (int r = 0; r < n; ++r) {
        const auto x = data_of(r, round, size);
        want.insert(want.end(), x.begin(), x.end());
      }
      const auto mine = data_of(comm.rank(), round, size);
      std::vector<float> out(want.size());
      ASSERT_TRUE(comm.all_gather(mine, out).ok());
      ASSERT_EQ(out, want);
      std::vector<float> in_place(want.size());
      const auto own = std::span(in_place).subspan(static_cast<size_t>(comm.rank()) * size, size);
      std::copy(mine.begin(), mine.end(), own.begin());
      ASSERT_TRUE(comm.all_gather(own, in_place).ok());
      ASSERT_EQ(in_place, want);
    }
  });
}

TEST_P(Collectives, broadcast_reaches_all_from_any_root) {
  Ranks ranks = GetParam().make();
  const int n = static_cast<int>(ranks.size());
  on_all(ranks, [n](Comm& comm) {
    for (int round = 0; round < 40; ++round) {
      const int root = round % n;
      std::vector<std::byte> bytes(static_cast<size_t>(round * 100), std::byte{0});
      if (comm.rank() == root) std::fill(bytes.begin(), bytes.end(), static_cast<std::byte>(round));
      ASSERT_TRUE(comm.broadcast(bytes, root).ok());
      ASSERT_EQ(bytes, std::vector<std::byte>(bytes.size(), static_cast<std::byte>(round)));
    }
  });
}

TEST_P(Collectives, bytes_of_unknown_size_reach_all) {
  Ranks ranks = GetParam().make();
  const int n = static_cast<int>(ranks.size());
  on_all(ranks, [n](Comm& comm) {
    for (int round = 0; round < 30; ++round) {
      const int root = round % n;
      const std::vector<std::byte> message(static_cast<size_t>(round * round * 11),
                                           static_cast<std::byte>(round));
      std::vector<std::byte> bytes(static_cast<size_t>(comm.rank()));
      if (comm.rank() == root) bytes = message;
      ASSERT_TRUE(broadcast_bytes(comm, bytes, root).ok());
      ASSERT_EQ(bytes, message);
    }
  });
}

TEST_P(Collectives, mix_in_any_order) {
  Ranks ranks = GetParam().make();
  const int n = static_cast<int>(ranks.size());
  std::atomic<int> before{0};
  on_all(ranks, [&, n](Comm& comm) {
    for (int round = 0; round < 100; ++round) {
      std::vector<float> x(8, static_cast<float>(comm.rank() + round));
      ASSERT_TRUE(comm.all_reduce(x).ok());
      ASSERT_EQ(x[7], static_cast<float>(n * round + n * (n - 1) / 2));
      before.fetch_add(1);
      ASSERT_TRUE(comm.barrier().ok());
      ASSERT_GE(before.load(), n * (round + 1));
      std::byte b{static_cast<unsigned char>(comm.rank() == 0 ? round : 255)};
      ASSERT_TRUE(comm.broadcast({&b, 1}, 0).ok());
      ASSERT_EQ(b, static_cast<std::byte>(round));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(AllKinds, Collectives, testing::ValuesIn(kinds()),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace fathom
