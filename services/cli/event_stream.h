// Where does one server-sent event end? Cuts a stream of bytes, in pieces of any size, into the
// payloads of its `data:` lines. A payload is one line, as the OpenAI protocol has it; other fields
// and comments are skipped.
#pragma once

#include <string>
#include <string_view>

namespace fathom {

class EventStream {
 public:
  // Calls `event(payload)` for each complete data line of what came so far.
  template <class Event>
  void add(std::string_view piece, Event&& event) {
    pending_ += piece;
    size_t start = 0;
    for (size_t end = pending_.find('\n'); end != std::string::npos;
         start = end + 1, end = pending_.find('\n', start)) {
      std::string_view line(pending_.data() + start, end - start);
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (!line.starts_with("data:")) continue;
      line.remove_prefix(5);
      if (line.starts_with(' ')) line.remove_prefix(1);
      event(line);
    }
    pending_.erase(0, start);
  }

 private:
  std::string pending_;
};

}  // namespace fathom
