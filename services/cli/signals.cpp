#include "cli/signals.h"

#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

namespace fathom {
namespace {

sigset_t signals(bool children) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  if (children) sigaddset(&set, SIGCHLD);
  return set;
}

}  // namespace

SignalInbox::SignalInbox(bool children) : children_(children) {
  const sigset_t set = signals(children);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

std::optional<int> SignalInbox::wait(Duration patience) const {
  const sigset_t set = signals(children_);
  const timespec limit{.tv_sec = patience.ns / 1'000'000'000,
                       .tv_nsec = patience.ns % 1'000'000'000};
  const int signal = ::sigtimedwait(&set, nullptr, &limit);
  return signal > 0 ? std::optional(signal) : std::nullopt;
}

int SignalInbox::wait() const {
  const sigset_t set = signals(children_);
  int signal = 0;
  while (::sigwait(&set, &signal) != 0) {
  }
  return signal;
}

void end_with_parent(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::kill(::getpid(), SIGTERM);
}

}  // namespace fathom
