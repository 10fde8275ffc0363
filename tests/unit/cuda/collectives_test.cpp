// Do ranks on GPUs get the same bits as one sum in rank order, whatever the sizes? And does a rank
// that gives up release the others?
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "collectives_on_gpus.h"

namespace fathom {
namespace {

TEST_P(CudaCollectives, sum_is_the_sequential_sum_in_rank_order_on_every_rank) {
  const int n = GetParam();
  // Around a quad, a block, the size from which slices are summed, and more than one buffer.
  const size_t sizes[] = {1,   2,    3,      4,      5,      31,        127,       128,
                          129, 7168, 262143, 262144, 262145, 1'000'003, 1u << 20u, 8'400'000};
  on_all([&](Seat at) {
    int round = 0;
    for (const size_t size : sizes) {
      float* room = at.room(size + 1);
      for (const size_t offset : {size_t{0}, size_t{1}}) {
        if (size > (1u << 20u) && offset == 1) continue;
        at.put(room + offset, data_of(at.group.rank(), ++round, size));
        ASSERT_TRUE(at.group.all_reduce(room + offset, static_cast<int64_t>(size)).ok());
        const auto got = at.get(room + offset, size);
        const auto want = sum_of(n, round, size);
        const size_t i = first_difference(got, want);
        ASSERT_EQ(i, size) << "rank " << at.group.rank() << " size " << size << " offset " << offset
                           << ": got " << got[i] << ", want " << want[i];
      }
      at.device.release(room);
    }
  });
}

TEST_P(CudaCollectives, many_in_a_row_without_waiting) {
  const int n = GetParam();
  constexpr int kRounds = 300;
  on_all([&](Seat at) {
    // Sizes of one step, small and sliced ones mixed; nobody waits for the GPU in between.
    const size_t sizes[] = {7168, 300'000, 64, 1'000'000, 4};
    std::vector<float*> rooms;
    for (int k = 0; k < kRounds; ++k) {
      const size_t size = sizes[k % 5];
      rooms.push_back(at.room(size));
      at.put(rooms.back(), std::vector<float>(size, static_cast<float>(at.group.rank() + k)));
      // A rank that lags behind, each in turn.
      if (k % n == at.group.rank())
        for (int i = 0; i < 50; ++i)
          at.device.copy(rooms.back(), rooms.back() + size / 2, size / 2);
    }
    for (int k = 0; k < kRounds; ++k)
      ASSERT_TRUE(at.group.all_reduce(rooms[k], static_cast<int64_t>(sizes[k % 5])).ok());
    for (int k = 0; k < kRounds; ++k) {
      const size_t size = sizes[k % 5];
      const std::vector<float> want(size, static_cast<float>(n * k + n * (n - 1) / 2));
      ASSERT_EQ(first_difference(at.get(rooms[k], size), want), size) << "round " << k;
      at.device.release(rooms[k]);
    }
  });
}

TEST_P(CudaCollectives, gather_lays_ranks_side_by_side_even_in_place) {
  const int n = GetParam();
  on_all([&](Seat at) {
    int round = 0;
    for (const size_t size : {1u, 3u, 4u, 129u, 16160u, 1'000'001u}) {
      std::vector<float> want;
      ++round;
      for (int r = 0; r < n; ++r) {
        const auto x = data_of(r, round, size);
        want.insert(want.end(), x.begin(), x.end());
      }
      const auto mine = data_of(at.group.rank(), round, size);
      float* part = at.room(size);
      float* out = at.room(want.size());
      at.put(part, mine);
      at.put(out, std::vector<float>(want.size(), NAN));
      ASSERT_TRUE(at.group.all_gather(part, out, static_cast<int64_t>(size)).ok());
      ASSERT_EQ(first_difference(at.get(out, want.size()), want), want.size()) << size;
      float* own = out + static_cast<size_t>(at.group.rank()) * size;
      at.put(out, std::vector<float>(want.size(), NAN));
      at.put(own, mine);
      ASSERT_TRUE(at.group.all_gather(own, out, static_cast<int64_t>(size)).ok());
      ASSERT_EQ(first_difference(at.get(out, want.size()), want), want.size()) << size;
      at.device.release(part);
      at.device.release(out);
    }
  });
}

TEST_P(CudaCollectives, broadcast_reaches_all_from_any_root_between_sums) {
  const int n = GetParam();
  on_all([&](Seat at) {
    float* sum = at.room(7168);
    at.put(sum, std::vector<float>(7168, 1.0f));
    int32_t next = 1;
    for (int round = 0; round < 3; ++round)
      for (int root = 0; root < n; ++root) {
        const auto count = static_cast<size_t>(1 + 37 * root + 500 * round);
        auto* ids = static_cast<TokenId*>(at.device.allocate(count * sizeof(TokenId)));
        std::vector<TokenId> values(count, -1), want(count);
        for (TokenId& id : want) id = next++;
        if (at.group.rank() == root) values = want;
        at.device.upload(ids, values.data(), count * sizeof(TokenId));
        ASSERT_TRUE(at.group.broadcast(ids, static_cast<int64_t>(count), root).ok());
        ASSERT_TRUE(at.group.all_reduce(sum, 7168).ok());
        const auto mark = at.device.make_download();
        mark->begin(ids, count * sizeof(TokenId));
        ASSERT_TRUE(at.group.finish(*mark).ok());
        EXPECT_TRUE(mark->done());
        const auto got = mark->finish();
        ASSERT_TRUE(got.ok());
        EXPECT_EQ(std::memcmp(got->data(), want.data(), got->size()), 0) << "from " << root;
        at.device.release(ids);
      }
    at.device.release(sum);
  });
}

TEST_P(CudaCollectives, sums_stand_between_operations_that_begin_early) {
  const int n = GetParam();
  constexpr int kRounds = 100;
  on_all([&](Seat at) {
    OpContext context{.device = &at.device};
    for (const size_t size : {7168u, 300'000u}) {
      const auto count = static_cast<int64_t>(size);
      float* mine = at.room(size);
      float* sum = at.room(size);
      float* total = at.room(size);
      at.put(mine, std::vector<float>(size, static_cast<float>(at.group.rank() + 1)));
      at.put(total, std::vector<float>(size, 0.0f));
      for (int round = 0; round < kRounds; ++round) {
        at.device.fill_zero(sum, size * sizeof(float));
        cuda_ops()->add(context, {.x = sum, .y = mine, .count = count});
        ASSERT_TRUE(at.group.all_reduce(sum, count).ok());
        cuda_ops()->add(context, {.x = total, .y = sum, .count = count});
      }
      const std::vector<float> want(size, static_cast<float>(kRounds * n * (n + 1) / 2));
      ASSERT_EQ(first_difference(at.get(total, size), want), size) << size;
      for (float* room : {mine, sum, total}) at.device.release(room);
    }
  });
}

TEST_P(CudaCollectives, rank_that_leaves_releases_the_others_and_is_named) {
  const int n = GetParam();
  if (n == 1) GTEST_SKIP() << "nobody is left";
  on_all([&](Seat at) {
    float* room = at.room(100'000);
    at.put(room, std::vector<float>(100'000, 1.0f));
    for (int k = 0; k < 20; ++k) {
      if (at.group.rank() == n - 1 && k == 7) {
        ranks.back().reset();
        return;
      }
      const Status status = at.group.all_reduce(room, 100'000);
      ASSERT_EQ(status.ok(), k < 7) << k;
      if (status.ok()) continue;
      EXPECT_EQ(status.error().code, Code::unavailable);
      EXPECT_NE(status.error().message.find("rank " + std::to_string(n - 1)), std::string::npos)
          << status.error().text();
      EXPECT_EQ(at.group.finish().error().code, Code::unavailable);
      EXPECT_TRUE(at.device.wait().ok()) << "the GPU itself is fine";
      at.device.release(room);
      return;
    }
  });
}

TEST_P(CudaCollectives, ranks_that_disagree_about_a_size_hear_so) {
  if (GetParam() == 1) GTEST_SKIP() << "one rank agrees with itself";
  on_all([&](Seat at) {
    float* room = at.room(8);
    const Status status = at.group.all_reduce(room, at.group.rank() == 0 ? 4 : 5);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().field, "size");
    at.device.release(room);
  });
}

INSTANTIATE_TEST_SUITE_P(VirtualRanks, CudaCollectives, testing::Values(1, 2, 4, 8),
                         testing::PrintToStringParamName());

TEST(CudaGroups, too_many_ranks_are_refused) {
  if (cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
  EXPECT_EQ(make_peer_collectives({}).error().code, Code::invalid_argument);
  const std::vector<Device*> many(17, nullptr);
  EXPECT_EQ(make_peer_collectives(many).error().code, Code::invalid_argument);
}

// One GPU can not hold two ranks of NCCL, so this sees a group of one and a peer that never comes.
class Nccl : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << cuda_absence();
    const auto made = make_nccl_id();
    if (!made.ok()) GTEST_SKIP() << made.error().text();
    id = made.value();
    device = make_cuda_device({}).value();
  }
  NcclId id = {};
  std::unique_ptr<Device> device;
};

TEST_F(Nccl, group_of_one_gives_its_part_back) {
  auto made = make_nccl_collectives(*device, {.id = id});
  ASSERT_TRUE(made.ok()) << made.error().text();
  Seat at{*device, **made};
  for (const size_t size : {1u, 7168u, 65'537u, 1'000'003u, 8'400'001u}) {
    const auto data = data_of(0, 1, size);
    float* room = at.room(size);
    float* out = at.room(size);
    at.put(room, data);
    ASSERT_TRUE(at.group.all_reduce(room, static_cast<int64_t>(size)).ok());
    ASSERT_TRUE(at.group.all_gather(room, out, static_cast<int64_t>(size)).ok());
    EXPECT_EQ(first_difference(at.get(room, size), data), size);
    EXPECT_EQ(first_difference(at.get(out, size), data), size);
    device->release(room);
    device->release(out);
  }
}

TEST_F(Nccl, what_is_recorded_can_be_replayed) {
  auto made = make_nccl_collectives(*device, {.id = id});
  ASSERT_TRUE(made.ok()) << made.error().text();
  Seat at{*device, **made};
  ASSERT_TRUE(at.group.recordable());
  int32_t what = 0;
  for (const size_t size : {7168u, 300'000u}) {
    const auto data = data_of(0, 1, size);
    float* from = at.room(size);
    float* to = at.room(size);
    at.put(from, data);
    ++what;
    for (int time = 0; time < 4; ++time) {  // said, recorded, replayed twice
      at.put(to, std::vector<float>(size, NAN));
      device->replay({.what = what}, [&] {
        device->copy(to, from, size * sizeof(float));
        EXPECT_TRUE(at.group.all_reduce(to, static_cast<int64_t>(size)).ok());
      });
      EXPECT_EQ(first_difference(at.get(to, size), data), size) << "time " << time;
    }
    device->release(from);
    device->release(to);
  }
}

TEST_F(Nccl, peer_that_never_comes_is_given_up_after_the_timeout) {
  const auto made = make_nccl_collectives(
      *device, {.id = id, .rank = 0, .size = 2, .timeout = Duration::seconds(1)});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Code::unavailable) << made.error().text();
  EXPECT_TRUE(device->wait().ok()) << "the GPU itself is fine";
}

}  // namespace
}  // namespace fathom
