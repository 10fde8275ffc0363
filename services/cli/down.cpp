#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/run_dir.h"
#include "cli/up.h"

namespace fathom {
namespace {

// A descriptor that becomes readable when the process ends.
class ProcessWatch {
 public:
  explicit ProcessWatch(pid_t pid) : fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;
  ~ProcessWatch() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool ended_within(double seconds) const {
    if (fd_ < 0) return true;
    pollfd watch{.fd = fd_, .events = POLLIN, .revents = 0};
    return ::poll(&watch, 1, static_cast<int>(seconds * 1e3)) > 0;
  }

 private:
  int fd_;
};

}  // namespace

int run_down(const std::string& run_dir, double patience_seconds, Screen& screen) {
  const auto pid = RunDir::owner(run_dir);
  if (!pid) {
    screen.error("fathom down: no cluster runs in " + run_dir + " (--port or --run-dir)");
    return 1;
  }
  const ProcessWatch watch(*pid);
  ::kill(*pid, SIGTERM);
  if (watch.ended_within(patience_seconds)) {
    screen.line("stopped");
    return 0;
  }
  screen.line("not drained after " + std::to_string(static_cast<int>(patience_seconds)) +
              " s: killing it");
  ::kill(*pid, SIGTERM);  // the second one kills
  if (watch.ended_within(10)) return 0;
  screen.error("fathom down: process " + std::to_string(*pid) + " does not end");
  return 1;
}

}  // namespace fathom
