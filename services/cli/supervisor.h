// Who keeps the processes of one cluster alive? Starts them, learns of their ends, starts a lost
// one again with growing pauses, and stops them in a given order. It does not wait for anything
// itself: the caller passes the time and calls again, so the whole of it runs on one thread beside
// whatever else the caller watches.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/process.h"

namespace fathom {

struct Death {
  size_t index = 0;  // into the programs given at construction
  ProcessEnd end;
  Duration pause;  // until it is started again
};

class Supervisor {
 public:
  explicit Supervisor(std::vector<ProgramStart> programs);

  Status start_all(Instant now);
  // The children that ended since the last call. Each is started again at restart_due() once its
  // pause is over: one second, doubled up to thirty for each end within a minute of its start.
  std::vector<Death> reap(Instant now);
  // Starts what is due; names of those started.
  std::vector<std::string> restart_due(Instant now);
  // From now on nothing is started again.
  void stopping() { stopping_ = true; }

  size_t size() const { return members_.size(); }
  const ProgramStart& program(size_t index) const { return members_[index].program; }
  bool running(size_t index) const { return members_[index].process.running(); }
  bool any_running() const;
  pid_t pid(size_t index) const { return members_[index].process.pid(); }
  void signal(size_t index, int number) const { members_[index].process.signal(number); }
  void kill_all() const;

 private:
  struct Member {
    ProgramStart program;
    Process process;
    Instant started{0};
    Instant due = kNever;
    Duration pause = Duration::seconds(1);
  };
  std::vector<Member> members_;
  bool stopping_ = false;
};

}  // namespace fathom
