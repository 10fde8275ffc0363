// What does one thread know of what others did? Up to which epoch of each actor everything lies
// before what it does next. Actors are the threads of a cluster and what happens beside them:
// copies, bulk stores, products of a warpgroup. A barrier gathers what all who arrive know, and
// tells all who wait. A second line says the same for what copies and tensor cores (the async
// proxy) see: for those, a proxy fence must lie between as well.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace emulated {

using Actor = uint16_t;
using Epoch = uint32_t;
inline constexpr Actor kNobody = 0xFFFF;

struct Known {
  std::vector<Epoch> seen, shown;  // by actor; what is beyond their ends is 0
  // Up to here its loads are done, even if its stores are not seen.
  std::vector<Epoch> loaded;
  // What a proxy fence makes of it: everything seen is shown. Null: not asked for yet.
  mutable std::shared_ptr<const Known> fenced;

  void take(const Known& other);
  static Epoch at(const std::vector<Epoch>& line, Actor actor) {
    return actor < line.size() ? line[actor] : 0;
  }
};
using SharedKnown = std::shared_ptr<const Known>;

// A step from one state of knowledge to the next, kept because many threads take it.
struct Step {
  SharedKnown from, to;
};

// Of one thread. Of itself it knows everything.
struct Clock {
  Actor self = 0;
  Epoch own = 1;        // of what it does now
  Epoch own_shown = 0;  // up to here its own stores are shown to the async proxy
  SharedKnown known;    // of the others

  void restart(Actor actor, const SharedKnown& nothing) { *this = {actor, 1, 0, nothing}; }
  void fence();
  // That `actor` has done everything up to `epoch`, and actors from `first` on their loads.
  void learn(Actor actor, Epoch epoch, Actor first, std::span<const Epoch> loads, Step& last);
  void learn(Actor actor, Epoch epoch, Step& last) { learn(actor, epoch, 0, {}, last); }
  void learn_loads(Actor first, std::span<const Epoch> loads, Step& last);
};

// One turn of a barrier: who arrives adds what it knows, who waits for the turn takes it all.
class Gathering {
 public:
  void add(Clock& clock);
  void add(Actor actor, Epoch epoch);  // of what happened beside threads
  void tell(Clock& clock);

 private:
  Known all_;
  std::vector<SharedKnown> added_;
  SharedKnown whole_;  // once somebody was told
  Step last_;
};

// What all of some threads know: the least of each (of loads it is not asked).
class Least {
 public:
  void add(const SharedKnown& known);
  SharedKnown get() const { return least_; }

 private:
  std::vector<SharedKnown> added_;
  SharedKnown least_;
};

}  // namespace emulated
