// Has the answer said one of the client's stop strings? The stop text is removed, and nothing that
// may still become one is shown early. The answer ends at the first byte that completes a stop
// string, so it is the same however the text is cut into pushes; of several that end there, the
// longest is taken.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom {

class StopText {
 public:
  // include_stop: the stop string itself is shown. Empty strings stop nothing.
  StopText(std::vector<std::string> stops, bool include_stop);
  // Appends what may be shown to out; true once a stop string was found (later pushes show
  // nothing).
  bool push(std::string_view text, std::string& out);
  void flush(std::string& out);

 private:
  // One stop string and how much of it the text so far ends with (Knuth-Morris-Pratt: linear in the
  // text).
  struct Stop {
    std::string text;
    std::vector<size_t>
        fallback;  // fallback[n]: the longest proper border of the first n + 1 bytes
    size_t matched = 0;
    bool step(char c);  // true if the text now ends with the whole string
  };
  std::vector<Stop> stops_;
  bool include_stop_;
  bool found_ = false;
  std::string held_;  // the end of the text that may be the start of a stop string
};

}  // namespace fathom
