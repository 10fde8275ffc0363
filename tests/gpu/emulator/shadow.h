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

// Where in the program, as offsets from its beginning: the instruction, and the call it is in.
struct Code {
  uint32_t at = 0, called = 0;
};

struct Touch {
  Actor actor = 0;
  Access how = Access::read;
  bool async = false;  // by copies or tensor cores
  Epoch epoch = 0;     // 0: nobody
  Code code;
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
  void clear() { words_.clear(); }
  // The earlier touch that this one is in no order with, if there is one.
  std::optional<Touch> touch(uint32_t place, uint32_t bytes, const Touch& touch, const View& view);

 private:
  // Epochs by actor, where more than a few touch what nobody stores into.
  struct Crowd {
    std::array<std::vector<Epoch>, 2> epochs;  // of reads, of atomic changes
    std::array<Code, 2> last;
  };
  struct Cell {
    Touch written;
    std::array<Touch, 4> since;  // none of them stores
    uint8_t count = 0;
    std::unique_ptr<Crowd> crowd;
    std::unique_ptr<Cell[]> bytes;  // four, where they were not touched alike
  };

  static std::optional<Touch> touch(Cell& cell, const Touch& touch, const View& view);
  static void remember(Cell& cell, const Touch& touch, const View& view);
  static Cell* bytes_of(Cell& cell);

  std::vector<Cell> words_;
};

}  // namespace emulated
