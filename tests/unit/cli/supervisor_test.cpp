#include "cli/supervisor.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

namespace fathom {
namespace {

ProgramStart program(const std::string& name, const std::string& script) {
  return {
      .name = name, .executable = "/bin/sh", .arguments = {"-c", script}, .log_path = "/dev/null"};
}

void await_end(pid_t pid) {
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
}

TEST(Supervisor, a_lost_process_is_started_again_after_growing_pauses) {
  Supervisor supervisor({program("stays", "exec tail -f /dev/null"), program("ends", "exit 1")});
  Instant now{0};
  ASSERT_TRUE(supervisor.start_all(now).ok());
  for (const int seconds : {1, 2, 4, 8, 16, 30, 30}) {
    await_end(supervisor.pid(1));
    const auto deaths = supervisor.reap(now);
    ASSERT_EQ(deaths.size(), 1u);
    EXPECT_EQ(deaths[0].index, 1u);
    EXPECT_EQ(deaths[0].end.exit_code, 1);
    EXPECT_EQ(deaths[0].pause, Duration::seconds(seconds));
    EXPECT_TRUE(supervisor.restart_due(now + Duration::seconds(seconds - 0.5)).empty());
    now = now + Duration::seconds(seconds);
    EXPECT_EQ(supervisor.restart_due(now), std::vector<std::string>{"ends"});
  }
  EXPECT_TRUE(supervisor.running(0));
}

TEST(Supervisor, a_long_life_forgives) {
  Supervisor supervisor({program("ends", "exit 1")});
  ASSERT_TRUE(supervisor.start_all(Instant{0}).ok());
  await_end(supervisor.pid(0));
  supervisor.reap(Instant{0});
  supervisor.restart_due(Instant{} + Duration::seconds(1));
  await_end(supervisor.pid(0));
  EXPECT_EQ(supervisor.reap(Instant{} + Duration::seconds(100))[0].pause, Duration::seconds(1));
}

TEST(Supervisor, nothing_is_started_while_stopping) {
  Supervisor supervisor({program("stays", "exec tail -f /dev/null")});
  ASSERT_TRUE(supervisor.start_all(Instant{0}).ok());
  supervisor.stopping();
  supervisor.signal(0, SIGKILL);
  await_end(supervisor.pid(0));
  EXPECT_EQ(supervisor.reap(Instant{0}).size(), 1u);
  EXPECT_FALSE(supervisor.any_running());
  EXPECT_TRUE(supervisor.restart_due(kNever).empty());
}

}  // namespace
}  // namespace fathom
