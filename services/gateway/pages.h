// What does a browser get from a gateway? The chat page, the cluster page and what they are made
// of, out of the executable: no folder beside it, no internet. The policy that goes with them
// allows nothing but the gateway's own files and its own API.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/embedded.h"
#include "net/http_server.h"

namespace fathom {

std::span<const EmbeddedFile> embedded_pages();  // services/gateway/pages

class Pages {
 public:
  explicit Pages(std::span<const EmbeddedFile> files);
  bool has(std::string_view path) const { return files_.contains(path); }
  // 200 with the file, 304 where `if_none_match` names it as it is, 404 where there is none.
  ServerResponse answer(std::string_view path, std::string_view if_none_match) const;

 private:
  struct Page {
    std::string_view bytes;
    std::string type;
    std::string etag;  // quoted
  };
  std::map<std::string, Page, std::less<>> files_;
};

}  // namespace fathom
