// What is a chat template, as text and as a program? Jinja as Hugging Face's chat templates use it:
// parsed once, rendered any number of times, from any thread. The rendering equals that of Python's
// jinja2 with Hugging Face's settings, and remembers which of its bytes came from marked variables.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "text/jinja/runtime.h"

namespace fathom::jinja {

struct Program;

class Template {
 public:
  // INVALID_ARGUMENT for what is no Jinja, UNIMPLEMENTED for what is not supported; the field names
  // the line.
  static Result<std::shared_ptr<const Template>> parse(std::string_view source);
  ~Template();

  // INVALID_ARGUMENT if the template raises an exception (the message is the template's own), fails
  // or exceeds a limit.
  Result<MarkedText> render(const Dict& variables, int64_t unix_seconds,
                            const Limits& limits = {}) const;

 private:
  explicit Template(Program program);
  std::unique_ptr<const Program> program_;
};

// JSON as values. Texts are of `source`; broken UTF-8 in them becomes U+FFFD. Numbers beyond 64
// bits become floats.
Result<Value> value_of_json(std::string_view json, TextSource source);
Value text_value(std::string_view text, TextSource source);

}  // namespace fathom::jinja
