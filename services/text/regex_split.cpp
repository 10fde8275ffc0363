// How is any other split pattern matched? PCRE2, compiled once, JIT where the machine has it.
// Published patterns are written for Oniguruma: what the two engines read differently is rewritten
// (\s) or refused at load, so a pattern that loads means the same here.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "text/split.h"

namespace fathom {
namespace {

// White_Space; PCRE2's own \s also takes U+180E.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

// What means the same behind a backslash in both engines.
constexpr std::string_view kEscapable = "dDrnt\\^$.[]|()?*+{}-/'\"#&~<>=!:,;@_`% ";

Error refuse(std::string_view what, std::string_view pattern) {
  return {Code::unimplemented,
          "split pattern uses " + std::string(what) +
              ", which is not supported: " + std::string(pattern),
          "pattern"};
}

// Copies the pattern into PCRE2's dialect, or says what it can not express.
class Translation {
 public:
  explicit Translation(std::string_view pattern) : pattern_(pattern) {}
  Result<std::string> run() {
    for (at_ = 0; at_ < pattern_.size(); ++at_) {
      const char c = pattern_[at_];
      if (c == '\\') {
        FATHOM_CHECKED(escape());
      } else if (in_class_) {
        FATHOM_CHECKED(inside_class(c));
      } else {
        FATHOM_CHECKED(outside_class(c));
      }
    }
    return std::move(out_);
  }

 private:
  char peek(size_t ahead) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }

  Status escape() {
    const char c = peek(1);
    ++at_;
    if (c == 's') {
      out_ += in_class_ ? std::string(kSpaces) : "[" + std::string(kSpaces) + "]";
    } else if (c == 'S') {
      if (in_class_) return refuse("\\S inside a class", pattern_);
      out_ += "[^" + std::string(kSpaces) + "]";
    } else if ((c == 'p' || c == 'P' || c == 'x') && peek(1) == '{') {
      const size_t close = std::min(pattern_.find('}', at_), pattern_.size() - 1);
      out_ += '\\';
      out_ += pattern_.substr(at_, close + 1 - at_);
      at_ = close;
    } else if (c != '\0' && kEscapable.find(c) != std::string_view::npos) {
      out_ += '\\';
      out_ += c;
    } else {
      return refuse(std::string("\\") + c, pattern_);
    }
    return {};
  }

  Status inside_class(char c) {
    if (c == '[') return refuse("a class inside a class", pattern_);
    if (c == '&' && peek(1) == '&') return refuse("&& in a class", pattern_);
    if (c == ']') in_class_ = false;
    out_ += c;
    return {};
  }

  Status outside_class(char c) {
    if (c == '^') return refuse("^", pattern_);
    if (c == '$') {
      // Oniguruma's: the end of any line, but not behind a line feed that ends the text.
      out_ += R"((?:(?=\n)|(?<!\n)\z))";
      return {};
    }
    if (c == '[') {
      in_class_ = true;
      out_ += c;
      if (peek(1) == '^') out_ += pattern_[++at_];
      if (peek(1) == ']') return refuse("] at the start of a class", pattern_);
      return {};
    }
    if (c == '}' && (peek(1) == '+')) return refuse("}+", pattern_);
    if (c == '(' && peek(1) == '*') return refuse("(*", pattern_);
    if (c == '(' && peek(1) == '?' && !known_group(pattern_.substr(at_ + 2)))
      return refuse("this kind of group", pattern_);
    out_ += c;
    return {};
  }

  static bool known_group(std::string_view behind) {
    for (const std::string_view kind : {":", "=", "!", ">", "<=", "<!", "i:"})
      if (behind.starts_with(kind)) return true;
    return false;
  }

  std::string_view pattern_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* match) const { pcre2_match_data_free(match); }
};
using CompiledPattern = std::unique_ptr<pcre2_code, FreeCode>;

class RegexSplit final : public SplitStage {
 public:
  RegexSplit(CompiledPattern code, SplitBehavior behavior, bool invert)
      : code_(std::move(code)), behavior_(behavior), invert_(invert) {}

  void split(std::string_view text, Piece piece, std::vector<Piece>& out) const override {
    const std::unique_ptr<pcre2_match_data, FreeMatch> match(
        pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    CHECK(match != nullptr, "no memory for a match");
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data() + piece.begin);
    const size_t length = piece.end - piece.begin;
    size_t at = 0;
    while (at < length) {
      // A pattern that runs into PCRE2's match limit matches nothing more: the rest is one gap.
      if (pcre2_match(code_.get(), subject, length, at, PCRE2_NO_UTF_CHECK, match.get(), nullptr) <
          0)
        break;
      const size_t* bounds = pcre2_get_ovector_pointer(match.get());
      put({piece.begin + at, piece.begin + bounds[0]}, false, out);
      put({piece.begin + bounds[0], piece.begin + bounds[1]}, true, out);
      at = bounds[1];
    }
    put({piece.begin + at, piece.end}, false, out);
  }

 private:
  void put(Piece piece, bool matched, std::vector<Piece>& out) const {
    if (piece.begin >= piece.end) return;
    if (behavior_ == SplitBehavior::removed && matched != invert_) return;
    out.push_back(piece);
  }

  CompiledPattern code_;
  SplitBehavior behavior_;
  bool invert_;
};

}  // namespace

Result<std::unique_ptr<SplitStage>> regex_split(const SplitRule& rule) {
  FATHOM_TRY(const std::string pattern, Translation(rule.pattern).run());
  int code = 0;
  size_t offset = 0;
  CompiledPattern compiled(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr));
  if (compiled == nullptr) {
    std::array<PCRE2_UCHAR, 160> text{};
    pcre2_get_error_message(code, text.data(), text.size());
    return Error{Code::invalid_argument,
                 "split pattern does not compile: " +
                     std::string(reinterpret_cast<const char*>(text.data())) + ": " + rule.pattern,
                 "pattern"};
  }
  uint32_t matches_empty = 0;
  pcre2_pattern_info(compiled.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) return refuse("a match of the empty string", rule.pattern);
  pcre2_jit_compile(compiled.get(),
                    PCRE2_JIT_COMPLETE);  // without JIT the interpreter answers the same
  return std::unique_ptr<SplitStage>(
      std::make_unique<RegexSplit>(std::move(compiled), rule.behavior, rule.invert));
}

}  // namespace fathom
