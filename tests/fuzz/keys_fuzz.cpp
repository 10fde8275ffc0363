// Which keys files break their parser? None may crash; a ring that is read is within its bounds and
// written and read again it is the same, and a refusal repeats nothing of a long line.
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/utc.h"
#include "gateway/keys.h"
#include "gateway/prices.h"

namespace fathom {
namespace {

void check_ring(const KeyRing& ring) {
  CHECK(ring.keys().size() <= kKeysMax);
  std::set<std::string> names;
  std::string again;
  for (const ApiKey& key : ring.keys()) {
    CHECK(is_key_name(key.name) && is_key_name(key.tenant));
    CHECK(names.insert(key.name).second);
    again += key_line(key) + "\n";
  }
  const auto reread = KeyRing::parse(again, "again");
  CHECK(reread.ok());
  CHECK(reread->keys() == ring.keys());
}

}  // namespace
}  // namespace fathom

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto ring = KeyRing::parse(text, "keys");
  if (ring.ok()) {
    check_ring(*ring);
    ring->find(text);
  } else {
    CHECK(ring.error().field.starts_with("keys:"));
    CHECK(ring.error().message.size() < 200);
  }
  if (const auto moment = unix_seconds_of(text))
    CHECK(unix_seconds_of(utc_text(*moment)) == moment);
  if (const auto micros = micros_of(text)) CHECK(micros_of(micros_text(*micros)) == micros);
  return 0;
}
