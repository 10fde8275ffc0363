// When does something happen later? One thread that runs tasks after a delay and resolves names, so
// that no logic sleeps and no gRPC thread waits. Tasks are not cancelled one by one: they check
// whether they are still wanted. Private to net/.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace fathom {

class TimerLoop {
 public:
  TimerLoop();
  ~TimerLoop();
  TimerLoop(const TimerLoop&) = delete;
  TimerLoop& operator=(const TimerLoop&) = delete;

  void post(std::function<void()> task);
  void after(Duration delay, std::function<void()> task);
  // The numeric addresses of a name, IPv4 ones if there are any, else IPv6 ones: a peer that has
  // both is one peer. `done` runs on the loop.
  void resolve(const std::string& host, std::function<void(Result<std::vector<std::string>>)> done);
  // Waits for the running task; those that wait are dropped. Not from a task. Idempotent.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// "10.0.0.7" or "::1", as opposed to a name.
bool is_numeric_address(const std::string& host);

}  // namespace fathom
