// When is the keys file looked at again? Once a second, on a thread of its own: reading it may wait
// for a disk, which the loops that serve clients must not.
#pragma once

#include <thread>

namespace fathom {

class Admission;

class KeysWatch {
 public:
  explicit KeysWatch(Admission& admission);  // which outlives it

 private:
  std::jthread thread_;
};

}  // namespace fathom
