// What happens when a peer dies, lies or does not fit? The others hear it as an error that names
// it, within the time-out, and the group stays broken. Dead peers are real processes that get
// killed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "comm/broadcast_bytes.h"
#include "groups.h"

namespace fathom {
namespace {

Status reduce(Comm& comm, size_t size = 4) {
  std::vector<float> x(size, 1.0f);
  return comm.all_reduce(x);
}

TEST(Failure, thread_that_leaves_breaks_the_group_and_is_named) {
  Ranks ranks = make_thread_group(3);
  std::thread first([&] {
    const Status status = reduce(*ranks[0]);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, Code::unavailable);
    EXPECT_NE(status.error().message.find("rank 2"), std::string::npos) << status.error().text();
  });
  std::thread leaver([&] { ranks[2].reset(); });
  first.join();
  leaver.join();
  const Status late = ranks[1]->barrier();
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, Code::unavailable);
  EXPECT_FALSE(ranks[0]->barrier().ok()) << "a broken group must stay broken";
}

TEST(Failure, rank_that_leaves_after_a_collective_does_not_spoil_it) {
  for (int round = 0; round < 300; ++round) {
    Ranks ranks = make_thread_group(3);
    std::vector<std::thread> threads;
    for (auto& rank : ranks)
      threads.emplace_back([&rank] {
        EXPECT_TRUE(reduce(*rank).ok());
        rank.reset();
      });
    for (auto& thread : threads) thread.join();
  }
}

TEST(Failure, ranks_that_disagree_about_a_size_hear_so) {
  Ranks ranks = make_thread_group(2);
  on_all(ranks, [](Comm& comm) {
    const Status status = reduce(comm, comm.rank() == 0 ? 4 : 5);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().field, "size");
  });
}

TEST(Failure, processes_that_disagree_about_a_size_break_the_group) {
  Ranks ranks = tcp_group(2, 1);
  on_all(ranks, [](Comm& comm) {
    const Status status = reduce(comm, comm.rank() == 0 ? 4 : 5);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, Code::unavailable);
    EXPECT_NE(status.error().message.find("rank"), std::string::npos);
  });
}

TEST(Failure, process_that_leaves_is_named_to_all_others) {
  Ranks ranks = tcp_group(3, 1);
  std::thread leader([&] {
    const Status status = reduce(*ranks[0]);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, Code::unavailable);
    EXPECT_NE(status.error().message.find("rank 2"), std::string::npos) << status.error().text();
  });
  std::thread follower([&] {
    const Status status = reduce(*ranks[1]);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, Code::unavailable);
    EXPECT_NE(status.error().message.find("rank 2"), std::string::npos) << status.error().text();
  });
  ranks[2].reset();
  leader.join();
  follower.join();
  EXPECT_FALSE(ranks[0]->barrier().ok());
  EXPECT_FALSE(ranks[1]->barrier().ok());
}

TEST(Failure, leader_that_leaves_ends_the_wait_for_its_next_broadcast) {
  Ranks ranks = tcp_group(2, 2);
  std::vector<std::thread> waiting;
  for (const size_t rank : {2u, 3u})
    waiting.emplace_back([&ranks, rank] {
      std::vector<std::byte> plan;
      const Status status = broadcast_bytes(*ranks[rank], plan, 0);
      ASSERT_FALSE(status.ok());
      EXPECT_EQ(status.error().code, Code::unavailable);
      EXPECT_NE(status.error().message.find("ranks 0..1"), std::string::npos)
          << status.error().text();
    });
  ranks[0].reset();
  ranks[1].reset();
  for (auto& thread : waiting) thread.join();
}

TEST(Failure, silent_peer_is_given_up_after_the_timeout) {
  Ranks ranks = tcp_group(2, 1, Duration::ms(200));
  const Status status = reduce(*ranks[0]);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::unavailable);
  EXPECT_NE(status.error().message.find("rank 1"), std::string::npos);
  const Status other = reduce(*ranks[1]);
  ASSERT_FALSE(other.ok());
  EXPECT_NE(other.error().message.find("rank"), std::string::npos);
}

// A follower in a process of its own, which makes collectives until it is killed.
pid_t fork_follower(const TcpGroup& settings, int port) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  auto ranks = join_tcp_group(settings, "127.0.0.1", port);
  while (ranks.ok() && reduce(*(*ranks)[0], 1000).ok()) {
  }
  ::_exit(0);
}

TEST(Failure, killed_process_breaks_the_group_within_the_timeout) {
  auto listener = listen_on("127.0.0.1", 0).value();
  const int port = port_of(listener);
  const pid_t victim = fork_follower(tcp_settings(3, 2, 1), port);
  const pid_t bystander = fork_follower(tcp_settings(3, 1, 1), port);
  auto ranks = lead_tcp_group(tcp_settings(3, 0, 1), std::move(listener)).value();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(reduce(*ranks[0], 1000).ok());
  ::kill(victim, SIGKILL);
  Status status;
  while ((status = reduce(*ranks[0], 1000)).ok()) {
  }
  EXPECT_EQ(status.error().code, Code::unavailable);
  EXPECT_NE(status.error().message.find("rank 2"), std::string::npos) << status.error().text();
  int how = -1;
  ::waitpid(bystander, &how, 0);  // it ends by itself: its collective failed
  EXPECT_TRUE(WIFEXITED(how));
  ::waitpid(victim, nullptr, 0);
}

struct Misfit {
  std::string field;
  TcpGroup settings;
};

TEST(Failure, misfits_are_refused_naming_the_field) {
  std::vector<Misfit> misfits;
  misfits.push_back({"digest", tcp_settings(2, 1, 1)});
  misfits.back().settings.digest = "model-2";
  misfits.push_back({"threads", tcp_settings(2, 1, 2)});
  misfits.push_back({"processes", tcp_settings(3, 1, 1)});
  for (const Misfit& misfit : misfits) {
    auto listener = listen_on("127.0.0.1", 0).value();
    const int port = port_of(listener);
    std::thread joining([&] {
      const auto refused = join_tcp_group(misfit.settings, "127.0.0.1", port);
      ASSERT_FALSE(refused.ok());
      EXPECT_EQ(refused.error().code, Code::failed_precondition);
      EXPECT_EQ(refused.error().field, misfit.field);
    });
    auto settings = tcp_settings(2, 0, 1);
    settings.join_timeout = Duration::ms(500);
    const auto led = lead_tcp_group(settings, std::move(listener));
    joining.join();
    ASSERT_FALSE(led.ok());
    EXPECT_EQ(led.error().code, Code::unavailable);
    EXPECT_NE(led.error().message.find("process 1"), std::string::npos) << led.error().text();
    EXPECT_EQ(led.error().field, misfit.field);
  }
}

TEST(Failure, stranger_does_not_keep_the_group_from_meeting) {
  auto listener = listen_on("127.0.0.1", 0).value();
  const int port = port_of(listener);
  auto stranger = connect_to("127.0.0.1", port, deadline_in(Duration::seconds(5))).value();
  const std::string text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_TRUE(
      stranger.send(std::as_bytes(std::span(text)), deadline_in(Duration::seconds(5))).ok());
  Ranks joined;
  std::thread joining(
      [&] { joined = join_tcp_group(tcp_settings(2, 1, 1), "127.0.0.1", port).value(); });
  Ranks led = lead_tcp_group(tcp_settings(2, 0, 1), std::move(listener)).value();
  joining.join();
  std::thread other([&] { EXPECT_TRUE(reduce(*joined[0]).ok()); });
  EXPECT_TRUE(reduce(*led[0]).ok());
  other.join();
}

TEST(Failure, leader_that_never_listens_is_given_up) {
  int port = 0;
  {
    const auto listener = listen_on("127.0.0.1", 0).value();
    port = port_of(listener);
  }
  auto settings = tcp_settings(2, 1, 1);
  settings.join_timeout = Duration::ms(150);
  const auto joined = join_tcp_group(settings, "127.0.0.1", port);
  ASSERT_FALSE(joined.ok());
  EXPECT_EQ(joined.error().field, "127.0.0.1:" + std::to_string(port));
}

}  // namespace
}  // namespace fathom
