// How are the published patterns matched without a regex engine? Each matcher is the alternation
// written out: given a position it answers where the leftmost-first match from there ends, or that
// there is none. All scan forward only, so cutting is linear: a run of white space is looked at no
// more than three times.
#include "text/split.h"
#include "text/unicode_classes.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr std::string_view kDeepSeekDigits = R"(\p{N}{1,3})";
constexpr std::string_view kDeepSeekCjk = "[一-龥぀-ゟ゠-ヿ]+";
constexpr std::string_view kDeepSeekText =
    "[!\"#$%&'()*+,\\-./"
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Char {
  char32_t value = 0;
  uint8_t flags = 0;
  size_t next = 0;  // where the following character begins
};

// The text a matcher reads: one piece, with the classes of its characters.
struct Source {
  const char* text;
  size_t end;
  const UnicodeClasses& classes;

  Char at(size_t position) const {
    const CodePoint c = code_point(text + position);
    return {c.value, classes.flags(c.value), position + c.length};
  }
  // The end of the run of characters from `position` with one of these flags.
  size_t run(size_t position, uint8_t flags) const {
    while (position < end) {
      const Char c = at(position);
      if (!(c.flags & flags)) break;
      position = c.next;
    }
    return position;
  }
  // The end of the run of characters from `position` with none of these flags.
  size_t run_without(size_t position, uint8_t flags) const {
    while (position < end) {
      const Char c = at(position);
      if (c.flags & flags) break;
      position = c.next;
    }
    return position;
  }
  size_t newlines(size_t position) const {
    while (position < end && is_newline(text[position])) ++position;
    return position;
  }
  static bool is_newline(char32_t c) { return c == '\r' || c == '\n'; }
  static bool is_newline(char c) { return c == '\r' || c == '\n'; }
};

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// \s+(?!\S)|\s+ and, before them if `lines`, \s*[\r\n]+ from white space at `position`.
size_t match_space(const Source& source, size_t position, bool lines) {
  size_t last_newline_end = position, last = position, end = position;
  while (end < source.end) {
    const Char c = source.at(end);
    if (!(c.flags & kSpace)) break;
    last = end;
    end = c.next;
    if (Source::is_newline(c.value)) last_newline_end = end;
  }
  if (lines && last_newline_end > position) return last_newline_end;
  // Before other text the last blank is left to it, unless it is the only one.
  return end == source.end || last == position ? end : last;
}

// 's|'t|'re|'ve|'m|'ll|'d at an apostrophe; `position` when none.
size_t match_contraction(const Source& source, size_t position, bool any_case) {
  const auto letter = [&](size_t at) -> char32_t {
    if (at >= source.end) return 0;
    char32_t c = source.at(at).value;
    if (any_case && c == 0x017F) return 's';  // the long s folds to s
    if (any_case && c >= 'A' && c <= 'Z') c += 'a' - 'A';
    return c;
  };
  const char32_t first = letter(position + 1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd')
    return source.at(position + 1).next;
  const char32_t second = first == 'r' || first == 'v' ? 'e' : first == 'l' ? 'l' : 0;
  return second != 0 && letter(position + 2) == second ? position + 3 : position;
}

struct DeepSeekDigits {
  size_t operator()(const Source& source, size_t position) const {
    for (int count = 0; count < 3 && position < source.end; ++count) {
      const Char c = source.at(position);
      if (!(c.flags & kNumber)) break;
      position = c.next;
    }
    return position;
  }
};

struct DeepSeekCjk {
  size_t operator()(const Source& source, size_t position) const {
    while (position < source.end) {
      const CodePoint c = code_point(source.text + position);
      const bool inside =
          (c.value >= 0x4E00 && c.value <= 0x9FA5) || (c.value >= 0x3040 && c.value <= 0x30FF);
      if (!inside) break;
      position += c.length;
    }
    return position;
  }
};

struct DeepSeekText {
  size_t operator()(const Source& source, size_t position) const {
    const Char c = source.at(position);
    if (c.flags & (kLetter | kMark)) return source.run(c.next, kLetter | kMark);
    if (c.flags & (kPunct | kSymbol)) {
      if (c.value < 0x80) {  // ASCII punctuation takes the ASCII letters behind it
        size_t end = c.next;
        while (end < source.end && is_ascii_letter(source.text[end])) ++end;
        if (end > c.next) return end;
      }
      return source.newlines(source.run(c.next, kPunct | kSymbol));
    }
    if (c.next < source.end && !Source::is_newline(c.value)) {
      const Char second = source.at(c.next);
      if (second.flags & (kLetter | kMark)) return source.run(second.next, kLetter | kMark);
      if (c.value == ' ' && (second.flags & (kPunct | kSymbol)))
        return source.newlines(source.run(second.next, kPunct | kSymbol));
    }
    return c.flags & kSpace ? match_space(source, position, true) : position;
  }
};

// What [^\s\p{L}\p{N}] is not.
constexpr uint8_t kTextOrSpace = kSpace | kLetter | kNumber;

template <int digits_max>
struct Llama3Text {
  size_t operator()(const Source& source, size_t position) const {
    const Char c = source.at(position);
    if (c.flags & kLetter) return source.run(c.next, kLetter);
    if (c.flags & kNumber) return number(source, c.next);
    if (c.value == '\'') {
      const size_t end = match_contraction(source, position, true);
      if (end > position) return end;
    }
    const bool second_exists = c.next < source.end;
    const Char second = second_exists ? source.at(c.next) : Char{};
    if (second_exists && !Source::is_newline(c.value) && (second.flags & kLetter))
      return source.run(second.next, kLetter);
    if (!(c.flags & kSpace)) return source.newlines(source.run_without(c.next, kTextOrSpace));
    if (c.value == ' ' && second_exists && !(second.flags & kTextOrSpace))
      return source.newlines(source.run_without(second.next, kTextOrSpace));
    return match_space(source, position, true);
  }
  static size_t number(const Source& source, size_t end) {
    for (int count = 1; count < digits_max && end < source.end; ++count) {
      const Char c = source.at(end);
      if (!(c.flags & kNumber)) break;
      end = c.next;
    }
    return end;
  }
};

struct Gpt2Text {
  size_t operator()(const Source& source, size_t position) const {
    Char c = source.at(position);
    if (c.value == '\'') {
      const size_t end = match_contraction(source, position, false);
      if (end > position) return end;
    }
    if (c.value == ' ' && c.next < source.end) {
      const Char second = source.at(c.next);
      if (!(second.flags & kSpace)) c = second;
    }
    if (c.flags & kLetter) return source.run(c.next, kLetter);
    if (c.flags & kNumber) return source.run(c.next, kNumber);
    if (!(c.flags & kSpace)) return source.run_without(c.next, kTextOrSpace);
    return match_space(source, position, false);
  }
};

struct DigitRun {
  bool individual;
  size_t operator()(const Source& source, size_t position) const {
    const Char c = source.at(position);
    if (!(c.flags & kNumber)) return position;
    return individual ? c.next : source.run(c.next, kNumber);
  }
};

template <class Match>
class KnownSplit final : public SplitStage {
 public:
  explicit KnownSplit(Match match) : match_(match), classes_(UnicodeClasses::get()) {}
  void split(std::string_view text, Piece piece, std::vector<Piece>& out) const override {
    const Source source{text.data(), piece.end, classes_};
    size_t gap = piece.begin;  // the first character not yet in a piece
    for (size_t at = piece.begin; at < piece.end;) {
      const size_t end = match_(source, at);
      if (end == at) {
        at += code_point(text.data() + at).length;
        continue;
      }
      if (gap < at) out.push_back({gap, at});
      out.push_back({at, end});
      gap = at = end;
    }
    if (gap < piece.end) out.push_back({gap, piece.end});
  }

 private:
  Match match_;
  const UnicodeClasses& classes_;
};

template <class Match>
std::unique_ptr<SplitStage> stage(Match match) {
  return std::make_unique<KnownSplit<Match>>(match);
}

}  // namespace

std::unique_ptr<SplitStage> known_split(std::string_view pattern) {
  if (pattern == kDeepSeekDigits) return stage(DeepSeekDigits{});
  if (pattern == kDeepSeekCjk) return stage(DeepSeekCjk{});
  if (pattern == kDeepSeekText) return stage(DeepSeekText{});
  if (pattern == kLlama3) return stage(Llama3Text<3>{});
  if (pattern == kQwen2) return stage(Llama3Text<1>{});
  if (pattern == kByteLevelPattern) return stage(Gpt2Text{});
  return nullptr;
}

std::unique_ptr<SplitStage> digits_split(bool individual) { return stage(DigitRun{individual}); }

}  // namespace fathom
