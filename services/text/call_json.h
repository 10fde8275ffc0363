// Where in a piece of JSON does a tool call stand? What Hermes and Llama write is an object with a
// name and arguments; it is read while it still arrives, so that arguments can be shown as they
// come.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

enum class Match : uint8_t { more, no, yes };  // more: what is there fits so far

// {"name": "NAME", "arguments": {   also with "parameters", and with "type": "function" before it.
struct CallHead {
  Match match = Match::no;
  std::string name;
  size_t arguments = 0;  // where they begin
  bool fenced = false;   // in a code fence
};
CallHead match_call_head(std::string_view text, size_t from);

// A call in any other order of members; nothing if it is no JSON object with a name. Arguments that
// are a string are taken as what it says, missing ones as {}.
struct WholeCall {
  std::string name, arguments;
};
std::optional<WholeCall> whole_call(std::string_view json);

// How far does an object reach? Follows strings and brackets and nothing else.
class JsonExtent {
 public:
  // How many bytes of `text` belong to the value; fewer than all once it is closed.
  size_t feed(std::string_view text);
  bool closed() const { return begun_ && depth_ == 0; }

 private:
  int depth_ = 0;
  bool begun_ = false, in_string_ = false, escaped_ = false;
};

// Skips at most kBlankMax bytes of white space.
size_t skip_blank(std::string_view text, size_t at);
inline constexpr size_t kBlankMax = 64;
// How many bytes at the end of `text` are white space; at most kBlankMax.
size_t blank_tail(std::string_view text);

}  // namespace fathom
