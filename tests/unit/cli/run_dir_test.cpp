#include "cli/run_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace fathom {
namespace {

namespace fs = std::filesystem;

class RunDirTest : public ::testing::Test {
 protected:
  void TearDown() override { fs::remove_all(path_); }

  // What another process, as `fathom down` is one, sees: record locks are invisible to their own.
  int owner_seen_from_outside() const {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(RunDir::owner(path_) == ::getppid() ? 1 : 0);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  }

  const fs::path path_ =
      fs::temp_directory_path() / ("fathom_run_dir_test_" + std::to_string(::getpid()));
};

TEST_F(RunDirTest, only_its_user_may_enter) {
  const auto dir = RunDir::take(path_);
  ASSERT_TRUE(dir.ok()) << dir.error().text();
  struct stat about {};
  ASSERT_EQ(::stat(path_.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0700u);
}

TEST_F(RunDirTest, the_owner_is_the_process_that_holds_it) {
  EXPECT_EQ(owner_seen_from_outside(), 0);
  {
    const auto dir = RunDir::take(path_);
    EXPECT_EQ(owner_seen_from_outside(), 1);
  }
  EXPECT_EQ(owner_seen_from_outside(), 0);
  EXPECT_EQ(RunDir::owner("/nowhere"), std::nullopt);
}

TEST_F(RunDirTest, a_second_cluster_is_refused_by_name) {
  const auto dir = RunDir::take(path_);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto other = RunDir::take(path_);
    const std::string holder = "(process " + std::to_string(::getppid()) + ")";
    ::_exit(!other.ok() && other.error().message.find(holder) != std::string::npos ? 7 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_F(RunDirTest, what_an_earlier_cluster_wrote_is_gone) {
  fs::create_directories(path_);
  std::ofstream(path_ / "old.log") << "old";
  std::ofstream(path_ / "kept.txt") << "kept";
  const auto dir = RunDir::take(path_);
  EXPECT_FALSE(fs::exists(path_ / "old.log"));
  EXPECT_TRUE(fs::exists(path_ / "kept.txt"));
  ASSERT_TRUE(dir->write("a.yaml", "a: 1\n").ok());
  std::string text;
  std::getline(std::ifstream(dir->file("a.yaml")), text);
  EXPECT_EQ(text, "a: 1");
}

TEST_F(RunDirTest, a_link_set_by_somebody_else_is_not_followed) {
  fs::create_directory_symlink("/tmp", path_);
  EXPECT_EQ(RunDir::take(path_).error().code, Code::failed_precondition);
}

}  // namespace
}  // namespace fathom
