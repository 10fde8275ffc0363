#include "cli/service_life.h"

#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <iostream>
#include <mutex>
#include <thread>

#include "process/log.h"

namespace fathom {
namespace {

// Opens once: when a signal asks for the end, or the service ended by itself.
class Gate {
 public:
  void open() {
    const std::scoped_lock lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

// Takes signals on a thread of its own: the first opens the gate, the second ends the process at
// once.
class SignalThread {
 public:
  SignalThread(const SignalInbox& inbox, Gate& gate)
      : thread_([&inbox, &gate](const std::stop_token& stop) {
          int seen = 0;
          while (!stop.stop_requested()) {
            const auto signal = inbox.wait(Duration::ms(100));
            if (!signal) continue;
            if (++seen == 2) ::_exit(128 + *signal);
            log_info("draining", {{"signal", *signal}});
            gate.open();
          }
        }) {}

 private:
  std::jthread thread_;
};

bool drain(const ServiceCalls& calls, const Clock& clock) {
  calls.drain();
  const Instant last = clock.now() + calls.drain_max;
  while (clock.now() < last)
    if (calls.wait(Duration::ms(200))) return true;
  return false;
}

}  // namespace

int run_service(const std::string& name, const ServiceCalls& calls, const SignalInbox& inbox,
                const Clock& clock) {
  Gate gate;
  const SignalThread signals(inbox, gate);
  if (const Status started = calls.start([&gate] { gate.open(); }); !started.ok()) {
    std::cerr << "fathom " << name << ": " << started.error().text() << std::endl;
    return 1;
  }
  gate.wait();
  if (!drain(calls, clock)) log_warning("not drained in time; what runs is lost");
  if (const Status end = calls.stop(); !end.ok()) {
    std::cerr << "fathom " << name << ": " << end.error().text() << std::endl;
    return 1;
  }
  log_info("ended");
  return 0;
}

}  // namespace fathom
