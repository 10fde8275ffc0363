#include "gateway/keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/utc.h"
#include "gateway/json_fields.h"

namespace fathom {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;

constexpr std::string_view kHex = "0123456789abcdef";

std::string hex_of(std::span<const uint8_t> bytes) {
  std::string out;
  out.reserve(2 * bytes.size());
  for (const uint8_t byte : bytes) {
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

std::optional<KeyDigest> digest_of_hex(std::string_view text) {
  KeyDigest out{};
  if (text.size() != 2 * out.size()) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i] >= 'A' && text[i] <= 'F' ? static_cast<char>(text[i] + 32) : text[i];
    const size_t digit = kHex.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    out[i / 2] = static_cast<uint8_t>(out[i / 2] << 4 | digit);
  }
  return out;
}

bool is_name(std::string_view text) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
  return !text.empty() && text.size() <= 64 &&
         text.find_first_not_of(kAllowed) == std::string_view::npos;
}

// One entry; the message of an error names the field.
Result<ApiKey> read_entry(const json::object& object) {
  constexpr std::string_view kName = "1 to 64 letters, digits, '-', '_' or '.'";
  JsonFields fields(object);
  ApiKey key;
  key.name = fields.text("name").value_or("");
  if (!is_name(key.name)) fields.wrong("name", kName);
  const auto digest = digest_of_hex(fields.text("sha256").value_or(""));
  if (!digest) fields.wrong("sha256", "the SHA-256 of the key: 64 hex digits");
  key.sha256 = digest.value_or(KeyDigest{});
  if (const auto text = fields.text("expires")) {
    key.expires = unix_seconds_of(*text);
    if (!key.expires) fields.wrong("expires", "a time in UTC such as 2026-11-01T00:00:00Z");
  }
  key.tenant = fields.text("tenant").value_or(key.name);
  if (!is_name(key.tenant)) fields.wrong("tenant", kName);
  key.is_operator = fields.flag("operator", false);
  if (fields.error()) return invalid(fields.error()->message);
  if (fields.unknown() > 0)
    return invalid("has a field nobody knows; there are name, sha256, expires, tenant, operator");
  return key;
}

Result<ApiKey> read_line(std::string_view line) {
  if (line.size() > kKeyLineBytesMax)
    return invalid("is longer than " + std::to_string(kKeyLineBytesMax) + " bytes");
  boost::system::error_code error;
  const json::value value = json::parse(json::string_view(line.data(), line.size()), error);
  if (error) return invalid("is not JSON: " + error.message());
  if (!value.is_object()) return invalid("is not a JSON object");
  return read_entry(value.get_object());
}

}  // namespace

KeyDigest digest_of(std::string_view key) {
  KeyDigest out{};
  CHECK(EVP_Digest(key.data(), key.size(), out.data(), nullptr, EVP_sha256(), nullptr) == 1);
  return out;
}

std::string key_line(const ApiKey& key) {
  // Names hold nothing that JSON would escape.
  std::string out = R"({"name":")" + key.name + R"(","sha256":")" + hex_of(key.sha256) + '"';
  if (key.expires) out += R"(,"expires":")" + utc_text(*key.expires) + '"';
  if (key.tenant != key.name) out += R"(,"tenant":")" + key.tenant + '"';
  if (key.is_operator) out += R"(,"operator":true)";
  return out + '}';
}

std::string key_text(std::span<const uint8_t, 32> random) { return "sk-" + hex_of(random); }

Result<KeyRing> KeyRing::parse(std::string_view text, const std::string& where) {
  KeyRing ring;
  std::set<std::string> names;
  std::set<KeyDigest> digests;
  int number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t first = line.find_first_not_of(" \t");
    if (first == std::string_view::npos || line[first] == '#') continue;
    const std::string at = where + ":" + std::to_string(number);
    auto key = read_line(line);
    if (!key.ok()) return invalid(key.error().message, at);
    if (!names.insert(key->name).second) return invalid("'name' is taken by a line above", at);
    if (!digests.insert(key->sha256).second)
      return invalid("'sha256' is the one of a line above", at);
    if (ring.keys_.size() == kKeysMax)
      return invalid("more than " + std::to_string(kKeysMax) + " keys", at);
    ring.keys_.push_back(std::move(*key));
  }
  return ring;
}

const ApiKey* KeyRing::find(std::string_view key) const {
  const KeyDigest digest = digest_of(key);
  const ApiKey* found = nullptr;
  // All of them, always: the time tells neither whether nor where one was found.
  for (const ApiKey& known : keys_)
    if (CRYPTO_memcmp(known.sha256.data(), digest.data(), digest.size()) == 0) found = &known;
  return found;
}

Result<std::string> read_keys_file(const std::string& path) {
  std::error_code code;
  if (!fs::exists(path, code)) return Error{Code::not_found, "there is no such file", path};
  if (!fs::is_regular_file(path, code)) return invalid("is not a regular file", path);
  std::ifstream in(path, std::ios::binary);
  if (!in) return invalid("can not be read", path);
  std::string text(kKeysFileBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return invalid("can not be read", path);
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > kKeysFileBytesMax)
    return invalid("is larger than " + std::to_string(kKeysFileBytesMax) + " bytes", path);
  return text;
}

}  // namespace fathom
