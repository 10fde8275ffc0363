// Are thinking and answer the same however the output is cut, and is no text lost? For every way
// output can begin.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "text/reasoning.h"

namespace {

using fathom::ReasoningParser;
using fathom::ReasoningStart;

ReasoningParser::Parts parsed(ReasoningStart start, const std::string& text, size_t step) {
  ReasoningParser parser(start);
  ReasoningParser::Parts parts;
  for (size_t at = 0; at < text.size();) {
    const size_t size = step == 0 ? 1 + static_cast<unsigned char>(text[at]) % 5 : step;
    parser.push(text.substr(at, size), parts);
    at += size;
    // A repeated <think> is dropped, so the text around it may happen to meet as a marker.
    const bool repeated = text.rfind("<think>") != std::string::npos && text.rfind("<think>") > 0;
    CHECK(repeated || parts.reasoning.find("</think>") == std::string::npos, "a marker is shown");
  }
  parser.flush(parts);
  return parts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const ReasoningStart start :
       {ReasoningStart::none, ReasoningStart::inside, ReasoningStart::maybe}) {
    const auto whole = parsed(start, text, text.size() + 1);
    for (const size_t step : {size_t{0}, size_t{1}, size_t{3}}) {
      const auto cut = parsed(start, text, step);
      CHECK(cut.reasoning == whole.reasoning && cut.content == whole.content, "depends on the cut");
    }
    CHECK(text.ends_with(whole.content), "the answer is not the end of the output");
    if (start == ReasoningStart::none) CHECK(whole.content == text, "plain text is changed");
    if (text.find("think>") == std::string::npos)
      CHECK(whole.reasoning + whole.content == text, "text without markers is changed");
  }
  return 0;
}
