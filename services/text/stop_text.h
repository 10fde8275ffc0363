// Has the answer said one of the client's stop strings? The stop text is removed, and nothing that may still
// become one is shown early.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom {

class StopText {
 public:
  // include_stop: the stop string itself is shown.
  StopText(std::vector<std::string> stops, bool include_stop);
  // Appends what may be shown to out; true once a stop string was found (later pushes show nothing).
  bool push(std::string_view text, std::string& out);
  void flush(std::string& out);

 private:
  std::vector<std::string> stops_;
  bool include_stop_;
  bool found_ = false;
  size_t longest_ = 0;
  std::string held_;
};

}  // namespace fathom
