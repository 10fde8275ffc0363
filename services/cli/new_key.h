// How does somebody get an API key? From random bytes a key is made that is shown once; what is
// kept is a line of the keys file with its digest. The line goes behind what the file holds, whole
// or not at all, and a running gateway takes it up by itself.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "gateway/keys.h"

namespace fathom {

struct KeyWish {
  std::string name;
  double days = 0;     // until it expires; 0: never
  std::string tenant;  // empty: the name
  bool is_operator = false;
};

struct NewKey {
  std::string text;  // the secret
  ApiKey entry;
};

// Errors name the option.
Result<NewKey> make_key(const KeyWish& wish, std::span<const uint8_t, 32> random,
                        int64_t unix_seconds);

// Makes the file, for its owner alone, where there is none. Refused where the file is broken or
// knows the name; errors name file and line.
Status append_key(const std::string& file, const ApiKey& entry);

}  // namespace fathom
