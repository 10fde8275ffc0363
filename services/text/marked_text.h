// Which bytes of a prompt did people write? Text that remembers it: spans mark what came from a
// client, all other bytes come from the chat template. Every operation that cuts or joins keeps the
// marks, so at the end only the template's own bytes may become special tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

enum class TextSource : uint8_t {
  people,         // whatever a client sent
  final_message,  // the same, of the last message: where a continued message ends
};

struct TypedSpan {
  size_t begin = 0, end = 0;
  TextSource source = TextSource::people;
  bool operator==(const TypedSpan&) const = default;
};

struct MarkedText {
  std::string bytes;
  std::vector<TypedSpan> typed;  // in order, not empty, never overlapping

  static MarkedText typed_by(std::string_view bytes, TextSource source);
  MarkedText& append(std::string_view trusted);
  MarkedText& append(std::string_view text, TextSource source);
  MarkedText& append(const MarkedText& text) { return append(text, 0, text.bytes.size()); }
  MarkedText& append(const MarkedText& text, size_t begin, size_t end);
  MarkedText slice(size_t begin, size_t end) const;
  // `text` made from this one in a way that loses positions: if any byte of this was typed, all of
  // it counts as typed.
  MarkedText remade(std::string text) const;
};

}  // namespace fathom
