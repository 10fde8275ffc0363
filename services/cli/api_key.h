// How does a command show an API key to a gateway? Given on the command line, where others on the
// machine can see it, or better as the first line of a file; sent as a bearer token, and never
// printed.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fathom {

// The first line of the file. NOT_FOUND or INVALID_ARGUMENT, naming --key-file.
Result<std::string> read_api_key(const std::string& path);

// INVALID_ARGUMENT naming --key for what could not stand in a header.
Status check_api_key(const std::string& key);

// Of a request with a JSON body; an empty key is not shown.
std::vector<std::pair<std::string, std::string>> request_headers(const std::string& key);

}  // namespace fathom
