// Are calls and text the same however the output is cut, is text never changed, and does whatever
// is no call stay text? For every form of calls.
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/tool_calls.h"

namespace {

using fathom::AnswerPiece;
using fathom::ToolCallParser;
using fathom::ToolFormat;

struct Parsed {
  std::string text;
  std::vector<std::string> names, arguments;
  int ended = 0;
  bool operator==(const Parsed&) const = default;
};

Parsed parsed(ToolFormat format, const std::string& output, size_t step) {
  ToolCallParser parser(format, {"f", "get_weather"});
  std::vector<AnswerPiece> pieces;
  for (size_t at = 0; at < output.size();) {
    const size_t size = step == 0 ? 1 + static_cast<unsigned char>(output[at]) % 5 : step;
    parser.push(output.substr(at, size), pieces);
    at += size;
  }
  parser.flush(pieces);
  CHECK(parser.certain() == static_cast<int64_t>(output.size()), "something is still held");
  Parsed out;
  int64_t last = 0;
  for (AnswerPiece& piece : pieces) {
    if (piece.kind == AnswerPiece::Kind::text) {
      CHECK(piece.at >= last, "text is out of order");
      CHECK(output.compare(static_cast<size_t>(piece.at), piece.text.size(), piece.text) == 0,
            "text is changed");
      last = piece.at + static_cast<int64_t>(piece.text.size());
      out.text += piece.text;
    } else if (piece.kind == AnswerPiece::Kind::call) {
      CHECK(piece.call == static_cast<int>(out.names.size()), "calls are out of order");
      CHECK(!piece.text.empty(), "a call without a name");
      out.names.push_back(std::move(piece.text));
      out.arguments.emplace_back();
    } else {
      CHECK(piece.call + 1 == static_cast<int>(out.names.size()), "arguments of another call");
      out.arguments.back() += piece.text;
    }
  }
  out.ended = parser.ended();
  CHECK(parser.begun() == static_cast<int>(out.names.size()));
  CHECK(out.ended <= parser.begun());
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string output(reinterpret_cast<const char*>(data), size);
  for (const ToolFormat format :
       {ToolFormat::none, ToolFormat::deepseek_v3, ToolFormat::deepseek_v31, ToolFormat::hermes,
        ToolFormat::llama}) {
    const Parsed whole = parsed(format, output, output.size() + 1);
    for (const size_t step : {size_t{0}, size_t{1}, size_t{3}})
      CHECK(parsed(format, output, step) == whole, "depends on the cut");
    if (whole.names.empty()) CHECK(whole.text == output, "text is lost");
  }
  return 0;
}
