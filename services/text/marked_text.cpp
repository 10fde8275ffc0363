#include "text/marked_text.h"

#include <algorithm>

namespace fathom {

MarkedText MarkedText::typed_by(std::string_view bytes, TextSource source) {
  MarkedText text;
  text.append(bytes, source);
  return text;
}

MarkedText& MarkedText::append(std::string_view trusted) {
  bytes += trusted;
  return *this;
}

MarkedText& MarkedText::append(std::string_view text, TextSource source) {
  if (text.empty()) return *this;
  const size_t begin = bytes.size();
  bytes += text;
  if (!typed.empty() && typed.back().end == begin && typed.back().source == source)
    typed.back().end = bytes.size();
  else
    typed.push_back({begin, bytes.size(), source});
  return *this;
}

MarkedText& MarkedText::append(const MarkedText& text, size_t begin, size_t end) {
  const size_t shift = bytes.size();
  bytes.append(text.bytes, begin, end - begin);
  auto span = std::upper_bound(text.typed.begin(), text.typed.end(), begin,
                               [](size_t at, const TypedSpan& s) { return at < s.end; });
  for (; span != text.typed.end() && span->begin < end; ++span) {
    const size_t from = std::max(span->begin, begin) - begin + shift;
    const size_t to = std::min(span->end, end) - begin + shift;
    if (!typed.empty() && typed.back().end == from && typed.back().source == span->source)
      typed.back().end = to;
    else
      typed.push_back({from, to, span->source});
  }
  return *this;
}

MarkedText MarkedText::slice(size_t begin, size_t end) const {
  MarkedText out;
  out.append(*this, begin, end);
  return out;
}

MarkedText MarkedText::remade(std::string text) const {
  MarkedText out{.bytes = std::move(text)};
  if (!typed.empty() && !out.bytes.empty())
    out.typed.push_back({0, out.bytes.size(), typed.front().source});
  return out;
}

}  // namespace fathom
