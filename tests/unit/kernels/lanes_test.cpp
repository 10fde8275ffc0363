// Does the pool run every index once, and does the arena keep what was taken?
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scratch.h"

namespace fathom {
namespace {

TEST(Lanes, run_every_index_exactly_once) {
  for (const int threads : {1, 2, 3, 5}) {
    const auto lanes = make_lanes(threads);
    EXPECT_EQ(lanes->count(), threads);
    for (int round = 0; round < 2000; ++round) {
      const int count = round % 17;
      lanes->stay_awake(round / 100 % 2 == 1);
      std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
      lanes->each(count, [&](int i) { runs[static_cast<size_t>(i)].fetch_add(1); });
      for (auto& n : runs) ASSERT_EQ(n.load(), 1) << "round " << round;
    }
  }
}

TEST(Lanes, what_a_lane_wrote_is_seen_by_the_caller) {
  const auto lanes = make_lanes(3);
  std::vector<int> values(1000);
  for (int round = 1; round <= 200; ++round) {
    lanes->each(1000, [&](int i) { values[static_cast<size_t>(i)] += i; });
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(values[static_cast<size_t>(i)], round * i);
  }
}

TEST(Lanes, all_threads_can_be_inside_a_job_at_once) {
  const auto lanes = make_lanes(3);
  std::atomic<int> inside{0};
  lanes->each(3, [&](int) {
    inside.fetch_add(1);
    for (int n; (n = inside.load()) < 3;) inside.wait(n);
    inside.notify_all();
  });
  EXPECT_EQ(inside.load(), 3);
}

TEST(Scratch, keeps_everything_taken_until_reset_and_is_aligned) {
  const auto scratch = make_scratch();
  for (int step = 0; step < 3; ++step) {
    std::vector<std::pair<char*, size_t>> taken;
    for (size_t i = 0; i < 60; ++i) {
      const size_t bytes = i * i * 1777;
      auto* p = static_cast<char*>(scratch->take(bytes));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
      std::memset(p, static_cast<int>(i), bytes);
      taken.emplace_back(p, bytes);
    }
    for (size_t i = 0; i < taken.size(); ++i)
      for (size_t b = 0; b < taken[i].second; b += 97)
        ASSERT_EQ(taken[i].first[b], static_cast<char>(i));
    scratch->reset();
  }
}

TEST(Scratch, is_one_piece_after_the_first_large_step) {
  const auto scratch = make_scratch();
  for (int i = 0; i < 10; ++i) scratch->take(1 << 20);
  scratch->reset();
  auto* first = static_cast<char*>(scratch->take(1 << 20));
  for (int i = 1; i < 10; ++i)
    EXPECT_EQ(static_cast<char*>(scratch->take(1 << 20)), first + (i << 20));
}

TEST(Scratch, rewinds_to_a_mark_across_growth) {
  const auto scratch = make_scratch();
  auto* kept = static_cast<char*>(scratch->take(1000));
  std::memset(kept, 7, 1000);
  const size_t mark = scratch->mark();
  void* again = scratch->take(500);
  scratch->rewind(mark);
  for (int round = 0; round < 3; ++round) {
    scratch->take(5 << 20);
    scratch->take(50 << 20);
    scratch->rewind(mark);
  }
  EXPECT_EQ(scratch->take(500), again);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(kept[i], 7);
}

}  // namespace
}  // namespace fathom
