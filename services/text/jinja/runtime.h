// What may one rendering use, and how did it fail? Everything a template makes goes through here
// and is counted, so a hostile template ends with an error and never with the process. The first
// failure stays; what is computed after it is thrown away.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/jinja/value.h"

namespace fathom::jinja {

struct Limits {
  int64_t steps = 50'000'000;     // evaluated nodes: seconds of one core
  int64_t bytes = 512ll << 20;    // of all texts and lists made, the output included
  int32_t depth = 800;            // of nested evaluation: well within a small stack
  int32_t value_depth = 100;      // of lists in lists
  int64_t range_items = 100'000;  // as in Jinja's sandbox
};

class Runtime {
 public:
  Runtime(const Limits& limits, int64_t unix_seconds)
      : limits_(limits), unix_seconds_(unix_seconds) {}

  bool failed() const { return failed_; }
  // Notes the failure unless there is one already; undefined, to be returned.
  Value fail(std::string message);
  // What raise_exception says, for the client to read.
  Value raise(std::string message);
  // The statement at work, for messages.
  void at_line(int line) { line_ = line; }
  Error error() const;

  bool spend(int64_t steps = 1);
  bool spend_bytes(size_t bytes);
  bool enter();
  void leave() { --depth_; }

  Value make_text(MarkedText text);
  Value make_trusted(std::string text) { return make_text({.bytes = std::move(text)}); }
  Value make_list(std::vector<Value> items, bool tuple = false);
  Value make_dict(Dict dict);
  Value make_space(Dict fields);

  const Limits& limits() const { return limits_; }
  int64_t unix_seconds() const { return unix_seconds_; }

 private:
  Limits limits_;
  int64_t unix_seconds_;
  int64_t steps_ = 0, bytes_ = 0;
  int32_t depth_ = 0;
  int line_ = 0;
  bool failed_ = false;
  bool raised_ = false;
  std::string message_;
  int failed_line_ = 0;
  std::vector<std::unique_ptr<Space>>
      spaces_;  // they may name each other: owned here, not by values
};

// Counts one level of nesting while it lives.
class Nesting {
 public:
  explicit Nesting(Runtime& runtime) : runtime_(runtime), fits_(runtime.enter()) {}
  ~Nesting() { runtime_.leave(); }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  bool fits() const { return fits_; }

 private:
  Runtime& runtime_;
  bool fits_;
};

}  // namespace fathom::jinja
