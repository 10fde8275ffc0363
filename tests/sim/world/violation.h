// How does a simulation say that a promise was broken? It throws; the runner reports the seed and
// the time.
#pragma once

#include <stdexcept>
#include <string>

namespace fathom::sim {

struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void require(bool holds, const char* what) {
  if (!holds) throw Violation(what);
}
inline void require(bool holds, const char* what, uint64_t about) {
  if (!holds) throw Violation(std::string(what) + " (" + std::to_string(about) + ")");
}

}  // namespace fathom::sim
