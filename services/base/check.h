// What happens when we broke our own invariant? The process says where and stops; the router and
// Kubernetes recover it. Checks stay on in release builds. For what the world can do to us, use
// Result.
#pragma once

#include <string>
#include <string_view>

namespace fathom {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view message);

namespace detail {
inline std::string check_message() { return {}; }
inline std::string check_message(std::string_view text) { return std::string(text); }
}  // namespace detail

}  // namespace fathom

// CHECK(used <= capacity); CHECK(ok, "why"): the message is only built on failure.
#define CHECK(condition, ...)                                               \
  do {                                                                      \
    if (!(condition)) [[unlikely]]                                          \
      ::fathom::check_failed(__FILE__, __LINE__, #condition,                \
                             ::fathom::detail::check_message(__VA_ARGS__)); \
  } while (false)
