// What does a request target name? The path, percent-decoded once, and the raw query.
#pragma once

#include <string>
#include <string_view>

namespace fathom {

struct HttpTarget {
  bool ok = false;
  std::string path;
  std::string query;
};

// Origin form ("/v1/models?x=1") and absolute form ("http://host/v1/models").
HttpTarget split_target(std::string_view target);

// May a client's x-request-id be echoed into headers and logs? Letters, digits and -_.: up to 128.
bool is_plain_word(std::string_view id);

}  // namespace fathom
