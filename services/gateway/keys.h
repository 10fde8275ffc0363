// Which API keys are there, and what may each do? A file of them holds one JSON object a line: a
// name for logs and metrics, the SHA-256 of the key (never the key), and how long and for whom it
// holds. A ring is read whole or not at all; looking a key up compares every digest in constant
// time.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace fathom {

using KeyDigest = std::array<uint8_t, 32>;
KeyDigest digest_of(std::string_view key);  // SHA-256

struct ApiKey {
  std::string name;    // 1 to 64 letters, digits, '-', '_' or '.'; one of its kind in a file
  KeyDigest sha256{};  // one of its kind as well
  std::optional<int64_t> expires;  // unix seconds: refused from then on
  std::string tenant;              // whose share of the queue it takes; like a name
  bool is_operator = false;        // may see what concerns all clients: the data of /cluster
  bool operator==(const ApiKey&) const = default;
};

// The line of a file, without its end.
std::string key_line(const ApiKey& key);

// A fresh key from 32 random bytes: "sk-" and 64 hex digits.
std::string key_text(std::span<const uint8_t, 32> random);

inline constexpr size_t kKeysMax = 4096;  // a lookup compares all of them
inline constexpr size_t kKeyLineBytesMax = 4096;
inline constexpr size_t kKeysFileBytesMax = 4 << 20;

class KeyRing {
 public:
  // Blank lines and lines that begin with '#' are skipped. Errors name `where` and the line, and
  // never repeat what stands in it: somebody may have put the key itself there.
  static Result<KeyRing> parse(std::string_view text, const std::string& where);

  const ApiKey* find(std::string_view key) const;  // null: nobody's
  const std::vector<ApiKey>& keys() const { return keys_; }

 private:
  std::vector<ApiKey> keys_;
};

// The text of a keys file. Errors name it: not there, not a file, larger than kKeysFileBytesMax.
Result<std::string> read_keys_file(const std::string& path);

}  // namespace fathom
