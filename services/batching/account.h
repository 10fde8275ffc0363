// How many blocks of one worker are spoken for? A counter that can neither exceed the capacity nor
// go below zero: every reservation is taken here before an edit that uses it is written, and given
// back when the edit or report that frees it is. So the sum of what a worker was promised never
// exceeds what it has.
#pragma once

#include <cstdint>

#include "base/check.h"

namespace fathom {

class BlockAccount {
 public:
  explicit BlockAccount(int32_t capacity) : capacity_(capacity) {}

  void take(int32_t blocks) {
    CHECK(blocks >= 0 && blocks <= free(), "a worker was promised more blocks than it has");
    reserved_ += blocks;
  }
  void give(int32_t blocks) {
    CHECK(blocks >= 0 && blocks <= reserved_, "blocks came back that were never taken");
    reserved_ -= blocks;
  }
  int32_t capacity() const { return capacity_; }
  int32_t reserved() const { return reserved_; }
  int32_t free() const { return capacity_ - reserved_; }

 private:
  int32_t capacity_ = 0;
  int32_t reserved_ = 0;
};

}  // namespace fathom
