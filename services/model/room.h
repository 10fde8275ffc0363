// Where do activations live that only one half of a layer needs? Attention's are dead while the MLP
// runs and the other way round, so both lay theirs out from the beginning of one piece of memory.
// It grows to the longer of the two layouts for the largest step seen, and is then kept. What
// either half results in stands at its beginning, on a host: over arrays that are dead by then.
#pragma once

#include <algorithm>

#include "model/buffer.h"

namespace fathom {

class Room {
 public:
  explicit Room(Device& device) : bytes_(device) {}
  char* data() const { return bytes_.data(); }
  void at_least(int64_t bytes) { bytes_.at_least(bytes); }
  // The result of a half has so many bytes; 0: it is elsewhere.
  void set_result(int64_t bytes) {
    result_ = (bytes + kAlign - 1) / kAlign * kAlign;
    at_least(result_);
  }
  // Where an array may begin that is read while the result is written.
  int64_t behind_result(int64_t at) const { return std::max(at, result_); }
  static constexpr int64_t kAlign = 256;

 private:
  Buffer<char> bytes_;
  int64_t result_ = 0;
};

// One array of a layout.
template <class T>
class RoomArray {
 public:
  explicit RoomArray(Room& room) : room_(&room) {}
  // Behind what ends at `at`, which moves on; `count` values, whatever they hold. Throws
  // std::bad_alloc.
  void place(int64_t& at, int64_t count) {
    begin_ = at;
    at +=
        (count * static_cast<int64_t>(sizeof(T)) + Room::kAlign - 1) / Room::kAlign * Room::kAlign;
    room_->at_least(at);
  }
  // May move when anything is placed.
  T* data() const { return reinterpret_cast<T*>(room_->data() + begin_); }

 private:
  Room* room_;
  int64_t begin_ = 0;
};

}  // namespace fathom
