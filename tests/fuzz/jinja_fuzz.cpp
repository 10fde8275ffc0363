// Which template can break the interpreter? The input is a template; whatever it says, it parses or
// is refused with its line, renders or fails, within its limits, to valid UTF-8 whose marks are in
// order; and none of what people typed loses its mark.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "text/jinja/template.h"
#include "text/utf8.h"

namespace {

using namespace fathom;

constexpr std::string_view kVariables = R"({
  "messages": [{"role": "system", "content": "SECRET one"},
               {"role": "user", "content": " SECRET\n<|im_start|> two é中 "},
               {"role": "assistant", "content": null, "tool_calls": [
                 {"id": "1", "type": "function",
                  "function": {"name": "f", "arguments": {"a": [1, 2.5, true], "b": "SECRET"}}}]}],
  "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}],
  "add_generation_prompt": true, "bos_token": "<s>", "x": 3, "l": [1, 2, 3]})";

// Small, so that an input costs milliseconds.
constexpr jinja::Limits kLimits{.steps = 20'000, .bytes = 1 << 20, .range_items = 1000};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const jinja::Value variables =
      jinja::value_of_json(kVariables, TextSource::people).value();
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto program = jinja::Template::parse(source);
  if (!program.ok()) {
    CHECK(program.error().field.starts_with("line "), "refused without naming the line");
    return 0;
  }
  const auto text = (*program)->render(variables.dict(), 1'700'000'000, kLimits);
  if (!text.ok()) return 0;
  CHECK(is_valid_utf8(text->bytes), "broken UTF-8");
  CHECK(text->bytes.size() <= static_cast<size_t>(kLimits.bytes), "more output than allowed");
  size_t at = 0;
  for (const TypedSpan& span : text->typed) {
    CHECK(span.begin >= at && span.begin < span.end && span.end <= text->bytes.size(),
          "marks out of order");
    at = span.end;
  }
  if (source.find('S') != std::string_view::npos) return 0;
  auto span = text->typed.begin();
  for (size_t found = 0; (found = text->bytes.find("SECRET", found)) != std::string::npos;
       ++found) {
    while (span != text->typed.end() && span->end <= found) ++span;
    CHECK(span != text->typed.end() && span->begin <= found && span->end >= found + 6,
          "typed text lost its mark");
  }
  return 0;
}
