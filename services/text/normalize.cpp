#include "text/normalize.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <algorithm>

#include "base/check.h"

namespace fathom {
namespace {

const icu::Normalizer2& nfc() {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = icu::Normalizer2::getNFCInstance(status);
  CHECK(U_SUCCESS(status), "ICU has no NFC data");
  return *normalizer;
}

bool is_nfc(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::StringPiece source(text.data(), static_cast<int32_t>(text.size()));
  return nfc().isNormalizedUTF8(source, status) && U_SUCCESS(status);
}

std::string to_nfc(std::string_view text) {
  std::string out;
  UErrorCode status = U_ZERO_ERROR;
  icu::StringByteSink<std::string> sink(&out);
  const icu::StringPiece source(text.data(), static_cast<int32_t>(text.size()));
  nfc().normalizeUTF8(0, source, sink, nullptr, status);
  CHECK(U_SUCCESS(status), "NFC failed on valid UTF-8");
  return out;
}

// Run by run, so that the marks stay: differs from normalizing the whole text only where a typed
// text begins with a mark that joins the template's last character.
MarkedText composed(const MarkedText& text) {
  MarkedText out;
  size_t at = 0;
  const std::string_view bytes = text.bytes;
  for (const TypedSpan& span : text.typed) {
    out.append(to_nfc(bytes.substr(at, span.begin - at)));
    out.append(to_nfc(bytes.substr(span.begin, span.end - span.begin)), span.source);
    at = span.end;
  }
  out.append(to_nfc(bytes.substr(at)));
  return out;
}

MarkedText replaced(const NormalizerRule& rule, const MarkedText& text) {
  MarkedText out;
  out.bytes.reserve(text.bytes.size());
  size_t at = 0;
  for (size_t hit = 0; (hit = text.bytes.find(rule.from, at)) != std::string::npos;) {
    const size_t end = hit + rule.from.size();
    out.append(text, at, hit);
    if (text.typed.empty())
      out.append(rule.to);
    else
      out.append(text.slice(hit, end).remade(rule.to));
    at = end;
  }
  out.append(text, at, text.bytes.size());
  return out;
}

}  // namespace

MarkedText normalized_text(std::span<const NormalizerRule> rules, MarkedText text) {
  for (const NormalizerRule& rule : rules) {
    if (text.bytes.empty()) return text;
    if (rule.kind == NormalizerRule::Kind::nfc) {
      if (!is_nfc(text.bytes)) text = composed(text);
    } else if (rule.kind == NormalizerRule::Kind::prepend) {
      MarkedText longer{.bytes = rule.to};
      text = std::move(longer.append(text));
    } else {
      text = replaced(rule, text);
    }
  }
  return text;
}

}  // namespace fathom
