// How does a function say that the world refused? Result<T> holds a value or an Error. Errors carry
// gRPC's canonical codes, so they cross every wire unchanged, and the name of the offending field
// or file, so a person knows what to fix. What *we* did wrong is not a Result: see base/check.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace fathom {

// Values equal grpc::StatusCode.
enum class Code : uint8_t {
  ok = 0,
  cancelled = 1,
  unknown = 2,
  invalid_argument = 3,
  deadline_exceeded = 4,
  not_found = 5,
  already_exists = 6,
  permission_denied = 7,
  resource_exhausted = 8,
  failed_precondition = 9,
  aborted = 10,
  out_of_range = 11,
  unimplemented = 12,
  internal = 13,
  unavailable = 14,
  data_loss = 15,
  unauthenticated = 16,
};

// "INVALID_ARGUMENT" and so on; "UNKNOWN" for a value outside the enum.
std::string_view code_name(Code code);

struct Error {
  Code code = Code::unknown;
  std::string message;  // one sentence for a person; never contains prompt text
  std::string field;    // request field, config key or file at fault; may be empty

  // "INVALID_ARGUMENT: message (field)".
  std::string text() const;
  bool operator==(const Error&) const = default;
};

inline Error invalid(std::string message, std::string field = {}) {
  return {Code::invalid_argument, std::move(message), std::move(field)};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // The value; checks that there is one.
  T& value() & {
    CHECK(ok(), error_text());
    return std::get<0>(state_);
  }
  const T& value() const& {
    CHECK(ok(), error_text());
    return std::get<0>(state_);
  }
  T&& value() && {
    CHECK(ok(), error_text());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // The error; checks that there is one.
  const Error& error() const {
    CHECK(!ok(), "no error in this Result");
    return std::get<1>(state_);
  }

 private:
  std::string error_text() const { return ok() ? std::string() : std::get<1>(state_).text(); }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}
  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const {
    CHECK(!ok_, "no error in this Result");
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

using Status = Result<void>;

}  // namespace fathom

// Evaluates a Result and returns its error from the enclosing function, or binds its value:
//   FATHOM_TRY(auto config, load(path));
#define FATHOM_TRY_CAT2(a, b) a##b
#define FATHOM_TRY_CAT(a, b) FATHOM_TRY_CAT2(a, b)
#define FATHOM_TRY(binding, expression) \
  FATHOM_TRY_IMPL(FATHOM_TRY_CAT(fathom_try_, __LINE__), binding, expression)
#define FATHOM_TRY_IMPL(name, binding, expression) \
  auto name = (expression);                        \
  if (!name.ok()) return name.error();             \
  binding = std::move(name).value()
// The same for a Status.
#define FATHOM_CHECKED(expression)                                                            \
  do {                                                                                        \
    if (auto fathom_status = (expression); !fathom_status.ok()) return fathom_status.error(); \
  } while (false)
