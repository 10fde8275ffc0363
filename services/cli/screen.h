// What does the person who typed `fathom up` see? Lines, one progress line that is overwritten on a
// terminal, and at most one error. With --detach the same words cross a pipe to the process in
// front, which shows them and leaves.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

namespace fathom {

class Screen {
 public:
  virtual ~Screen() = default;
  virtual void line(const std::string& text) = 0;
  virtual void progress(const std::string& text) = 0;  // replaces the one before
  virtual void piece(const std::string& text) = 0;     // of a streamed answer, as it is
  virtual void error(const std::string& text) = 0;
  virtual bool watched() const = 0;  // false once the process in front has gone
  virtual void ready() = 0;          // the cluster serves; a waiting process in front may leave
};

std::unique_ptr<Screen> make_terminal_screen();

// Writes every call to a pipe until ready() was said, and to this file from then on, since nobody
// waits any more.
std::unique_ptr<Screen> make_pipe_screen(int fd, const std::string& log_path);

// Replays what a pipe screen wrote until ready, error or the end of the pipe. True when ready came.
bool relay_screen(int fd, Screen& to);

}  // namespace fathom
