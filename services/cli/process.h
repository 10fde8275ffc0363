// How does one process start another and learn of its end? posix_spawn with both outputs in a log
// file and in a process group of its own, so that a Ctrl-C at the terminal reaches only the parent,
// which stops its children in order. A Process that is destroyed while its child lives kills it:
// nothing is left behind.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace fathom {

struct ProgramStart {
  std::string name;  // for people: "decode-0"
  std::string executable;
  std::vector<std::string> arguments;  // without the program's own name
  std::string log_path;                // appended to
  bool new_session = false;            // survives the terminal and is not killed with the Process
  int pass_fd = -1;                    // kept open in the child under the same number
};

// How a child ended.
struct ProcessEnd {
  int exit_code = 0;
  int signal = 0;
  bool clean() const { return exit_code == 0 && signal == 0; }
  // "exited with code 1", "was killed by signal 9 (Killed)".
  std::string text() const;
};

class Process {
 public:
  Process() = default;
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  static Result<Process> start(const ProgramStart& start);

  bool running() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }
  // The end, once, when it has come.
  std::optional<ProcessEnd> poll();
  void signal(int number) const;

 private:
  pid_t pid_ = -1;
  bool detached_ = false;
};

// The program that runs now.
std::string own_executable();

// The last `lines` lines of a file, each behind `indent`; empty when there is none.
std::string log_tail(const std::string& path, int lines, const std::string& indent = "  ");

}  // namespace fathom
