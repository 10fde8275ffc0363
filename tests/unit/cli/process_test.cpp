#include "cli/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace fathom {
namespace {

class ProcessTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  ProgramStart shell(const std::string& script) const {
    return {
        .name = "script", .executable = "/bin/sh", .arguments = {"-c", script}, .log_path = log()};
  }
  std::string log() const { return folder_ / "log"; }

  // Blocks until the child has ended, without taking its end.
  static void await_end(const Process& process) {
    siginfo_t info;
    ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(process.pid()), &info, WEXITED | WNOWAIT), 0);
  }
  // Blocks until the file has a line.
  static void await_line(const std::string& path) {
    for (std::string line;;) {
      std::ifstream in(path);
      if (std::getline(in, line)) return;
      ::sched_yield();
    }
  }

  std::filesystem::path folder_ = std::filesystem::temp_directory_path() /
                                  ("fathom_process_test_" + std::to_string(::getpid()));
};

TEST_F(ProcessTest, exit_code_and_both_outputs_are_kept) {
  auto process = Process::start(shell("echo out; echo err >&2; exit 3"));
  ASSERT_TRUE(process.ok());
  await_end(*process);
  const auto end = process->poll();
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->exit_code, 3);
  EXPECT_EQ(end->text(), "exited with code 3");
  EXPECT_FALSE(end->clean());
  EXPECT_FALSE(process->running());
  EXPECT_FALSE(process->poll().has_value());
  EXPECT_EQ(log_tail(log(), 1, "> "), "> err\n");
  EXPECT_EQ(log_tail(log(), 9, ""), "out\nerr\n");
}

TEST_F(ProcessTest, a_killed_child_names_its_signal) {
  auto process = Process::start(shell("kill -9 $$"));
  await_end(*process);
  EXPECT_EQ(process->poll()->text(), "was killed by signal 9 (Killed)");
}

TEST_F(ProcessTest, a_child_hears_signals_that_its_parent_blocks) {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &term, &before);
  auto process = Process::start(shell("echo up; exec tail -f /dev/null"));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  await_line(log());
  process->signal(SIGTERM);
  await_end(*process);
  EXPECT_EQ(process->poll()->signal, SIGTERM);
}

TEST_F(ProcessTest, a_child_is_in_a_group_of_its_own) {
  auto process = Process::start(shell("exec tail -f /dev/null"));
  EXPECT_EQ(::getpgid(process->pid()), process->pid());
}

TEST_F(ProcessTest, a_dropped_process_leaves_no_child) {
  pid_t pid = 0;
  {
    auto process = Process::start(shell("exec tail -f /dev/null"));
    pid = process->pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST_F(ProcessTest, a_program_that_is_not_there_is_named) {
  const auto process =
      Process::start({.name = "ghost", .executable = "/nowhere/ghost", .log_path = log()});
  ASSERT_FALSE(process.ok());
  EXPECT_EQ(process.error().field, "ghost");
}

}  // namespace
}  // namespace fathom
