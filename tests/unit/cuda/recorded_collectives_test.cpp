// What of collectives that are recorded, where GPUs wait for each other without their hosts? The
// same bits at every replay, in any order of the ranks, and nobody waits for ever for one that is
// gone.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <span>

#include "collectives_on_gpus.h"

namespace fathom {
namespace {

class CudaRecordedCollectives : public CudaCollectives {};

TEST_P(CudaRecordedCollectives, what_is_recorded_gives_the_same_bits_at_every_replay) {
  const int n = GetParam();
  on_all([&](Seat at) {
    ASSERT_EQ(at.group.recordable(), apart());
    if (!apart()) return;
    // An odd number of collectives, so that the next replay begins with the other buffer; whole and
    // sliced sums, more than one buffer, any alignment.
    const size_t sizes[] = {7168, 5, 300'000, 2'100'000};
    int32_t what = 0;
    for (const size_t size : sizes) {
      ++what;
      const auto count = static_cast<int64_t>(size);
      const size_t offset = static_cast<size_t>(what) % 2;
      float* from = at.room(size);
      float* sum = at.room(size + 1);
      float* all = at.room(size * static_cast<size_t>(n));
      auto* ids = static_cast<TokenId*>(at.device.allocate(64 * sizeof(TokenId)));
      for (int time = 0; time < 4; ++time) {  // said, recorded, replayed twice
        at.put(from, data_of(at.group.rank(), 10 * what + time, size));
        const std::vector<TokenId> own(64, 100 * time + at.group.rank());
        at.device.upload(ids, own.data(), 64 * sizeof(TokenId));
        replay(at, what, [&] {
          at.device.copy(sum + offset, from, size * sizeof(float));
          EXPECT_TRUE(at.group.all_reduce(sum + offset, count).ok());
          EXPECT_TRUE(at.group.all_gather(from, all, count).ok());
          EXPECT_TRUE(at.group.broadcast(ids, 64, n - 1).ok());
        });
        const auto got = at.get(sum + offset, size), want = sum_of(n, 10 * what + time, size);
        const size_t i = first_difference(got, want);
        ASSERT_EQ(i, size) << "size " << size << " time " << time << ": got " << got[i] << ", want "
                           << want[i];
        const auto rows = at.get(all, size * static_cast<size_t>(n));
        for (int r = 0; r < n; ++r)
          ASSERT_TRUE(
              std::ranges::equal(std::span(rows).subspan(static_cast<size_t>(r) * size, size),
                                 data_of(r, 10 * what + time, size)));
        std::vector<TokenId> heard(64);
        ASSERT_TRUE(at.device.download(heard.data(), ids, 64 * sizeof(TokenId)).ok());
        EXPECT_EQ(heard, std::vector<TokenId>(64, 100 * time + n - 1));
        // What is said in between meets as ever.
        at.put(from, std::vector<float>(size, 1.0f));
        ASSERT_TRUE(at.group.all_reduce(from, count).ok());
        ASSERT_EQ(at.get(from, 1)[0], static_cast<float>(n));
      }
      for (float* room : {from, sum, all}) at.device.release(room);
      at.device.release(ids);
    }
  });
}

// Nobody waits for a GPU between replays, and one rank is late each time.
TEST_P(CudaRecordedCollectives, replays_in_a_row_keep_apart) {
  const int n = GetParam();
  if (!apart()) GTEST_SKIP() << "ranks share a GPU";
  on_all([&](Seat at) {
    constexpr size_t kSize = 40'000;
    float* one = at.room(kSize);
    float* value = at.room(kSize);
    at.put(one, std::vector<float>(kSize, static_cast<float>(at.group.rank() + 1)));
    at.put(value, std::vector<float>(kSize, 0.0f));
    OpContext context{.device = &at.device};
    const auto say = [&] {
      for (int k = 0; k < 3; ++k) {
        at.device.copy(value, one, kSize * sizeof(float));
        EXPECT_TRUE(at.group.all_reduce(value, kSize).ok());
        cuda_ops()->add(context, {.x = one, .y = value, .count = kSize});
      }
    };
    float sums = 0, own[16] = {};
    for (int r = 0; r < n; ++r) own[r] = static_cast<float>(r + 1);
    for (int round = 0; round < 5; ++round) {
      if (round % n == at.group.rank())
        for (int i = 0; i < 50; ++i) at.device.copy(value, value + kSize / 2, kSize / 2);
      replay(at, 1, say);
      for (int k = 0; k < 3; ++k) {
        sums = own[0];
        for (int r = 1; r < n; ++r) sums += own[r];
        for (int r = 0; r < n; ++r) own[r] += sums;
      }
    }
    const std::vector<float> want(kSize, own[at.group.rank()]);
    EXPECT_EQ(first_difference(at.get(one, kSize), want), kSize);
    for (float* room : {one, value}) at.device.release(room);
  });
}

// The last rank records like the others, then leaves, or stays away, instead of the second replay.
class CudaStops : public CudaCollectives {
 protected:
  void miss_a_replay(bool leaves, const std::string& words) {
    const int n = GetParam();
    if (!apart()) GTEST_SKIP() << "ranks share a GPU";
    on_all([&](Seat at) {
      float* room = at.room(1000);
      at.put(room, std::vector<float>(1000, 1.0f));
      const auto say = [&] { static_cast<void>(at.group.all_reduce(room, 1000)); };
      replay(at, 1, say);
      replay(at, 1, say);
      ASSERT_TRUE(at.group.finish().ok());
      if (at.group.rank() == n - 1) {
        ASSERT_TRUE(at.group.agree(2).ok());
        if (leaves) ranks.back().reset();
        at.device.release(room);
        return;
      }
      replay(at, 1, say);
      const auto mark = at.device.make_download();
      mark->begin(nullptr, 0);
      const Status ended = at.group.finish(*mark);
      ASSERT_FALSE(ended.ok());
      EXPECT_EQ(ended.error().code, Code::unavailable);
      EXPECT_EQ(ended.error().message, "rank " + std::to_string(n - 1) + words);
      EXPECT_TRUE(at.device.wait().ok()) << "the GPU itself is fine";
      at.device.release(room);
    });
  }
};

class CudaStopsSoon : public CudaStops {
 protected:
  CudaStopsSoon() { patience = Duration::seconds(2); }
};

TEST_P(CudaStops, rank_that_leaves_releases_the_gpus_that_wait_for_it) {
  miss_a_replay(true, " left the group");
}

TEST_P(CudaStopsSoon, rank_that_does_not_come_is_waited_for_so_long) {
  miss_a_replay(false, " did not come to a collective in time");
}

INSTANTIATE_TEST_SUITE_P(Ranks, CudaStops, testing::Values(2, 4),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(Ranks, CudaStopsSoon, testing::Values(2, 4),
                         testing::PrintToStringParamName());

INSTANTIATE_TEST_SUITE_P(Ranks, CudaRecordedCollectives, testing::Values(2, 4),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace fathom
