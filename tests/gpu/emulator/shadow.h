// Who touched each byte of a block's shared memory since its last store? Beside the store itself
// that is everybody who read it or changed it atomically. Two touches of a byte, of which one is a
// store, must be in order: what the later one knows (clocks.h) says whether they are, whatever
// order the threads happened to run in.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "tests/gpu/emulator/clocks.h"
#include "tests/gpu/emulator/device.h"

namespace emulated {

struct Touch {
  Actor actor = 0;
  Access how = Access::read;
  bool async = false;  // by copies or tensor cores
  Epoch epoch = 0;     // 0: nobody
  uint32_t code = 0;   // where in the program, from its beginning
};

// Through whose knowledge a touch is judged.
struct View {
  const Known* known;
  Actor self = kNobody;  // in order with itself
  Epoch own_shown = 0;

  bool comes_after(const Touch& earlier, bool async) const;
};

class Shadow {
 public:
  void clear() { ++turn_; }
  // The earlier touch that this one is in no order with, if there is one.
  std::optional<Touch> touch(uint32_t place, uint32_t bytes, const Touch& touch, const View& view);

 private:
  // Loads of more than a few: epochs by actor.
  struct Crowd {
    std::vector<Epoch> epochs;  // empty: nobody's
    uint32_t code = 0;          // of the last

    std::optional<Touch> before(const View& view) const;
    void add(const Touch& touch);
  };
  struct Cell {
    Touch written;
    std::array<Touch, 4> since;  // none of them stores
    uint8_t count = 0;
    bool changed = false;  // atomically, by some of those
    uint32_t turn = 0;     // of the shadow; of another turn is nothing
    std::unique_ptr<Crowd> crowd;
    std::vector<Touch> changes;      // atomic ones that `since` has no room for
    std::unique_ptr<Cell[]> halves;  // where they were not touched alike; nothing else counts then

    void store(const Touch& touch);
    void remember(const Touch& touch, const View& view);
  };
  struct Bytes {
    uint32_t begin, end;
  };

  static std::optional<Touch> touch(Cell& cell, const Touch& touch, const View& view);
  // A cell is about the bytes of `all`, of which these are touched.
  static std::optional<Touch> touch(Cell& cell, Bytes all, Bytes touched, const Touch& touch,
                                    const View& view);
  static void split(Cell& cell);

  std::vector<Cell> words_;
  uint32_t turn_ = 1;
};

}  // namespace emulated
