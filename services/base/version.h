// Which build is this? The project's version as it is shown to people.
#pragma once

#include <string_view>

namespace fathom {

inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace fathom
