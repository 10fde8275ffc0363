// Do threads that meet see what the others published, and does one that gives up release them? The
// meeting is host code: this needs no GPU.
#include "kernels/cuda/meeting.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace fathom::cuda {
namespace {

void on_all(int threads, const std::function<void(int)>& fn) {
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) running.emplace_back([&fn, i] { fn(i); });
  for (auto& thread : running) thread.join();
}

Status nothing() { return {}; }

TEST(Meeting, everybody_sees_what_was_published_before) {
  constexpr int kThreads = 4;
  Meeting meeting(kThreads);
  // In turn, as the buffers of the collectives: what is written in a round is read before the next.
  int said[2][kThreads] = {};
  on_all(kThreads, [&](int self) {
    for (int round = 1; round <= 500; ++round) {
      int* turn = said[round % 2];
      turn[self] = round * 10 + self;
      ASSERT_TRUE(meeting.meet(nothing).ok());
      for (int i = 0; i < kThreads; ++i) ASSERT_EQ(turn[i], round * 10 + i);
    }
  });
}

TEST(Meeting, one_that_leaves_releases_those_who_wait_and_those_who_come_later) {
  for (int round = 0; round < 200; ++round) {
    Meeting meeting(3);
    on_all(3, [&](int self) {
      ASSERT_TRUE(meeting.meet(nothing).ok());
      if (self == 1) return meeting.break_with({Code::unavailable, "rank 1 left", "rank"});
      for (int i = 0; i < 2; ++i) {
        const Status status = meeting.meet(nothing);
        ASSERT_FALSE(status.ok());
        EXPECT_EQ(status.error().message, "rank 1 left");
      }
    });
    EXPECT_FALSE(meeting.status().ok());
  }
}

TEST(Meeting, one_that_leaves_after_a_meeting_does_not_spoil_it) {
  for (int round = 0; round < 200; ++round) {
    Meeting meeting(3);
    on_all(3, [&](int self) {
      EXPECT_TRUE(meeting.meet(nothing).ok());
      meeting.break_with({Code::unavailable, "rank " + std::to_string(self) + " left", "rank"});
    });
  }
}

TEST(Meeting, the_last_to_come_judges_for_all) {
  Meeting meeting(2);
  on_all(2, [&](int) {
    const Status status = meeting.meet([]() -> Status { return invalid("they differ", "size"); });
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().field, "size");
  });
  EXPECT_EQ(meeting.meet(nothing).error().field, "size") << "a broken meeting stays broken";
}

}  // namespace
}  // namespace fathom::cuda
