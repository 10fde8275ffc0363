#include "cli/screen.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <vector>

namespace fathom {
namespace {

class Recorder final : public Screen {
 public:
  void line(const std::string& text) override { seen.push_back("line " + text); }
  void progress(const std::string& text) override { seen.push_back("progress " + text); }
  void piece(const std::string& text) override { seen.push_back("piece " + text); }
  void error(const std::string& text) override { seen.push_back("error " + text); }
  bool watched() const override { return true; }
  void ready() override { seen.push_back("ready"); }
  std::vector<std::string> seen;
};

TEST(PipeScreen, the_process_in_front_shows_the_same) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const auto pipe = make_pipe_screen(ends[1], "/dev/null");
  pipe->progress("loading");
  pipe->piece("two\nlines");
  pipe->ready();
  pipe->line("nobody waits for this");
  Recorder recorder;
  EXPECT_TRUE(relay_screen(ends[0], recorder));
  EXPECT_EQ(recorder.seen,
            (std::vector<std::string>{"progress loading", "piece two\nlines", "ready"}));
  ::close(ends[0]);
}

TEST(PipeScreen, a_reader_that_left_is_noticed) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  const auto pipe = make_pipe_screen(ends[1], "/dev/null");
  pipe->progress("loading");
  EXPECT_TRUE(pipe->watched());
  ::close(ends[0]);
  pipe->progress("still loading");
  EXPECT_FALSE(pipe->watched());
  ::signal(SIGPIPE, before);
}

TEST(PipeScreen, an_error_or_a_lost_process_is_not_ready) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  auto pipe = make_pipe_screen(ends[1], "/dev/null");
  pipe->error("port 1 is in use");
  Recorder recorder;
  EXPECT_FALSE(relay_screen(ends[0], recorder));
  EXPECT_EQ(recorder.seen.back(), "error port 1 is in use");
  pipe.reset();
  EXPECT_FALSE(relay_screen(ends[0], recorder));
  ::close(ends[0]);
}

}  // namespace
}  // namespace fathom
