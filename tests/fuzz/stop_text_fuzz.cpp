// Does StopText cut where a plain search would, however the text arrives? The input is up to three
// stop strings, each ended by a zero byte, then the text; every byte's low bits also say how the
// text is cut.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "text/stop_text.h"

namespace {

std::string shown(const std::vector<std::string>& stops, bool include, const std::string& text,
                  size_t step) {
  fathom::StopText stop(stops, include);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t size = step == 0 ? 1 + static_cast<unsigned char>(text[at]) % 5 : step;
    stop.push(text.substr(at, size), out);
    at += size;
    CHECK(text.starts_with(out) || include || out.size() <= text.size(), "shows what was not said");
  }
  stop.flush(out);
  return out;
}

// The same by looking at every prefix: the first that ends with a stop string, the longest such
// string.
std::string expected(const std::vector<std::string>& stops, bool include, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops)
      if (!stop.empty() && text.substr(0, end).ends_with(stop))
        longest = std::max(longest, stop.size());
    if (longest > 0) return text.substr(0, include ? end : end - longest);
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 400) return 0;  // the reference is cubic
  std::string text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> stops;
  while (stops.size() < 3) {
    const size_t zero = text.find('\0');
    if (zero == std::string::npos) break;
    stops.push_back(text.substr(0, zero));
    text.erase(0, zero + 1);
  }
  for (const bool include : {false, true}) {
    const std::string want = expected(stops, include, text);
    for (const size_t step : {size_t{0}, size_t{1}, size_t{3}, text.size() + 1})
      CHECK(shown(stops, include, text, step) == want, "cut in another place");
  }
  return 0;
}
