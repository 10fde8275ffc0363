#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode_classes.h"
#include "text/utf8.h"

namespace fathom {
namespace {

uint8_t flags_at(std::string_view text, size_t at) {
  return UnicodeClasses::get().flags(code_point(text.data() + at).value);
}

// The start of the character that ends before `at`.
size_t before(std::string_view text, size_t at) {
  --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && (flags_at(text, before(text, begin)) & kWord)) ||
         (end < text.size() && (flags_at(text, end) & kWord));
}

}  // namespace

void AddedTokens::add(AddedToken token) {
  uint32_t node = 0;
  for (const char c : token.content) {
    const auto [found, added] =
        nodes_[node].next.try_emplace(c, static_cast<uint32_t>(nodes_.size()));
    node = found->second;
    if (added) nodes_.emplace_back();
  }
  nodes_[node].token = static_cast<int32_t>(tokens_.size());
  starts_[static_cast<unsigned char>(token.content.at(0))] = true;
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokens::longest_at(std::string_view text, size_t at) const {
  const AddedToken* best = nullptr;
  uint32_t node = 0;
  for (; at < text.size(); ++at) {
    const auto found = nodes_[node].next.find(text[at]);
    if (found == nodes_[node].next.end()) break;
    node = found->second;
    if (nodes_[node].token >= 0) best = &tokens_[static_cast<size_t>(nodes_[node].token)];
  }
  return best;
}

void AddedTokens::find(std::string_view text, std::span<const TypedSpan> typed,
                       std::vector<Match>& out) const {
  if (tokens_.empty()) return;
  size_t free_from = 0;  // matches before this already own the text
  auto span = typed.begin();
  for (size_t at = 0; at < text.size();) {
    while (span != typed.end() && span->end <= at) ++span;
    if (span != typed.end() && span->begin <= at) {
      at = span->end;
      continue;
    }
    const std::string_view until = text.substr(0, span == typed.end() ? text.size() : span->begin);
    const AddedToken* token =
        starts_[static_cast<unsigned char>(text[at])] ? longest_at(until, at) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at = at + token->content.size();
    if (token->single_word && touches_word(text, begin, end)) continue;
    if (token->lstrip)
      while (begin > free_from && (flags_at(text, before(text, begin)) & kSpace))
        begin = before(text, begin);
    if (token->rstrip)
      while (end < text.size() && (flags_at(text, end) & kSpace))
        end += code_point(text.data() + end).length;
    // A content that starts with white space may already belong to the token before it.
    begin = std::max(begin, free_from);
    if (begin >= end) continue;
    out.push_back({begin, end, token->id});
    free_from = end;
  }
}

}  // namespace fathom
