#include "cli/api_key.h"

#include <algorithm>
#include <fstream>

namespace fathom {

Result<std::string> read_api_key(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string key;
  std::getline(file, key);
  if (file.bad() || !file.is_open())
    return Error{Code::not_found, path + " can not be read", "--key-file"};
  key.resize(std::min(key.find('\r'), key.size()));
  if (key.empty()) return invalid("the first line of " + path + " is empty", "--key-file");
  return key;
}

Status check_api_key(const std::string& key) {
  // A line end in it would begin another header.
  if (std::ranges::any_of(key, [](char c) { return c <= ' ' || c > '~'; }))
    return invalid("must be printable ASCII without spaces", "--key");
  return {};
}

std::vector<std::pair<std::string, std::string>> request_headers(const std::string& key) {
  std::vector<std::pair<std::string, std::string>> headers = {{"content-type", "application/json"}};
  if (!key.empty()) headers.emplace_back("authorization", "Bearer " + key);
  return headers;
}

}  // namespace fathom
