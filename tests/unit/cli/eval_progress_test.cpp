#include "cli/eval_progress.h"

#include <gtest/gtest.h>

#include <sstream>

namespace fathom {
namespace {

EvalProgress at(int64_t ended) {
  return {.questions = 40,
          .ended = ended,
          .right = ended / 2,
          .failed = 1,
          .tokens = 50 * ended,
          .seconds = static_cast<double>(ended)};
}

TEST(EvalProgress, the_bar_fills_and_says_how_long) {
  EXPECT_EQ(eval_progress_text(at(10), 8),
            "[##......] 10 of 40, 5 right, 1 failed, 50 tokens/s, 30 s left");
  EXPECT_EQ(eval_progress_text(at(40), 8), "[########] 40 of 40, 20 right, 1 failed, 50 tokens/s");
  EXPECT_EQ(eval_progress_text({}, 0), "0 of 0, 0 right, 0 failed, 0 tokens/s");
}

TEST(EvalProgress, a_terminal_sees_one_line_and_a_log_ten) {
  std::ostringstream terminal, log;
  {
    EvalProgressLine bar(terminal, true), lines(log, false);
    for (int64_t i = 0; i <= 40; ++i) {
      bar.show(at(i));
      lines.show(at(i));
    }
  }
  EXPECT_TRUE(terminal.str().ends_with("\r\x1b[K"));
  EXPECT_EQ(terminal.str().find('\n'), std::string::npos);
  const std::string text = log.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 10);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace fathom
