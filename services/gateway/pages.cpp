#include "gateway/pages.h"

#include <xxhash.h>

#include <array>
#include <cstdio>

#include "gateway/api_error.h"

namespace fathom {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

std::string type_of(std::string_view path) {
  struct Type {
    std::string_view ending, type;
  };
  static constexpr std::array kTypes = {Type{".html", "text/html; charset=utf-8"},
                                        Type{".js", "text/javascript; charset=utf-8"},
                                        Type{".css", "text/css; charset=utf-8"},
                                        Type{".svg", "image/svg+xml"},
                                        Type{".png", "image/png"},
                                        Type{".json", "application/json"},
                                        Type{".webmanifest", "application/manifest+json"}};
  for (const auto& [ending, type] : kTypes)
    if (path.ends_with(ending)) return std::string(type);
  return "application/octet-stream";
}

std::string etag_of(std::string_view bytes) {
  std::array<char, 24> text{};
  const int length =
      std::snprintf(text.data(), text.size(), "\"%016llx\"",
                    static_cast<unsigned long long>(XXH3_64bits(bytes.data(), bytes.size())));
  return {text.data(), static_cast<size_t>(length)};
}

}  // namespace

Pages::Pages(std::span<const EmbeddedFile> files) {
  for (const auto& [path, bytes] : files)
    files_.emplace(path, Page{.bytes = bytes, .type = type_of(path), .etag = etag_of(bytes)});
}

ServerResponse Pages::answer(std::string_view path, std::string_view if_none_match) const {
  const auto found = files_.find(path);
  if (found == files_.end())
    return error_response(not_found("there is no such page", "unknown_url"));
  const Page& page = found->second;
  ServerResponse response{.content_type = page.type};
  // Asked again each time, answered with 304 while nothing changed: a new gateway is a new page.
  response.headers = {{"etag", page.etag},
                      {"cache-control", "no-cache"},
                      {"content-security-policy", std::string(kPolicy)},
                      {"x-content-type-options", "nosniff"},
                      {"referrer-policy", "no-referrer"},
                      {"cross-origin-opener-policy", "same-origin"}};
  // A proxy may list several tags, or mark ours as weak (W/"...").
  if (if_none_match.find(page.etag) != std::string_view::npos) {
    response.status = 304;
    return response;
  }
  response.body = page.bytes;
  return response;
}

}  // namespace fathom
