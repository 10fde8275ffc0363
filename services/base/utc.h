// How is a moment written so that people and programs agree on it? As RFC 3339 in UTC, to the
// second: "2026-11-01T00:00:00Z". Wall time inside the code is unix seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

// Years 1970 to 9999; the offset is Z or +00:00, a fraction of a second is dropped. Nothing where
// the text says no such moment.
std::optional<int64_t> unix_seconds_of(std::string_view utc);
std::string utc_text(int64_t unix_seconds);  // "2026-11-01T00:00:00Z"
std::string utc_date(int64_t unix_seconds);  // "2026-11-01"

}  // namespace fathom
