// What is a thread group? A group of one process, without a link.
#include "comm/threads.h"

#include "comm/group.h"

namespace fathom {

std::vector<std::unique_ptr<Comm>> make_thread_group(int ranks) {
  return make_group({.threads = ranks, .processes = 1, .process = 0}, nullptr);
}

}  // namespace fathom
