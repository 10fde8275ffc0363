// What is wrong with this message from outside? Remembers the first field that does not hold what
// it may; the rest is still read, so reading has one path and needs no early return. Private to
// net/.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace fathom::wire {

class Fields {
 public:
  bool ok() const { return first_ == nullptr; }
  void require(bool holds, const char* field, const char* why) {
    if (holds || first_) return;
    first_ = field;
    why_ = why;
  }
  int32_t not_negative(int32_t value, const char* field) {
    require(value >= 0, field, "must not be negative");
    return value;
  }
  int64_t not_negative(int64_t value, const char* field) {
    require(value >= 0, field, "must not be negative");
    return value;
  }
  int32_t positive(int32_t value, const char* field) {
    require(value > 0, field, "must be greater than 0");
    return value;
  }
  int32_t within(int32_t value, int32_t least, int32_t most, const char* field) {
    require(value >= least && value <= most, field, "out of range");
    return value;
  }
  float finite(float value, const char* field) {
    require(std::isfinite(value), field, "must be a finite number");
    return value;
  }
  template <class Repeated>
  std::vector<TokenId> tokens(const Repeated& from, const char* field) {
    for (const int32_t token : from) require(token >= 0, field, "holds a negative token id");
    return {from.begin(), from.end()};
  }
  // INVALID_ARGUMENT naming `prefix` + the field.
  Error error(const std::string& prefix = {}) const {
    return invalid(why_ ? why_ : "", prefix + (first_ ? first_ : ""));
  }

 private:
  const char* first_ = nullptr;
  const char* why_ = nullptr;
};

}  // namespace fathom::wire
