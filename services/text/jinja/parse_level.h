// How deep is the parser? One level of nesting while it lives, so a template of a million brackets
// is an error and not the end of the stack.
#pragma once

#include "text/jinja/parser.h"

namespace fathom::jinja {

class Parser::Level {
 public:
  explicit Level(Parser& parser) : parser_(parser) {
    if (++parser_.nesting_ > kDeepestNesting) parser_.fail("nested too deeply");
  }
  ~Level() { --parser_.nesting_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;
  bool fits() const { return !parser_.failed(); }

 private:
  Parser& parser_;
};

}  // namespace fathom::jinja
