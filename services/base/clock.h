// What time is it? Logic never asks the system: it is handed an Instant, or a Clock that tests
// replace. Instants are monotonic nanoseconds; wall time exists only where a protocol shows it to
// people.
#pragma once

#include <compare>
#include <cstdint>

namespace fathom {

struct Duration {
  int64_t ns = 0;
  static constexpr Duration seconds(double s) { return {static_cast<int64_t>(s * 1e9)}; }
  static constexpr Duration ms(int64_t v) { return {v * 1'000'000}; }
  static constexpr Duration us(int64_t v) { return {v * 1'000}; }
  constexpr double to_seconds() const { return static_cast<double>(ns) * 1e-9; }
  constexpr double to_ms() const { return static_cast<double>(ns) * 1e-6; }
  constexpr auto operator<=>(const Duration&) const = default;
};

struct Instant {
  int64_t ns = 0;
  constexpr auto operator<=>(const Instant&) const = default;
};

// Later than anything; "no deadline".
inline constexpr Instant kNever{INT64_MAX};

constexpr Instant operator+(Instant t, Duration d) {
  return t == kNever ? kNever : Instant{t.ns + d.ns};
}
constexpr Instant operator-(Instant t, Duration d) {
  return t == kNever ? kNever : Instant{t.ns - d.ns};
}
constexpr Duration operator-(Instant a, Instant b) { return {a.ns - b.ns}; }
constexpr Duration operator+(Duration a, Duration b) { return {a.ns + b.ns}; }
constexpr Duration operator*(Duration d, int64_t n) { return {d.ns * n}; }

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant now() const = 0;           // monotonic
  virtual int64_t unix_seconds() const = 0;  // wall time: of `created` fields, of keys that expire
};

// The machine's clocks.
class SystemClock final : public Clock {
 public:
  Instant now() const override;
  int64_t unix_seconds() const override;
};

// Time that moves only when a test says so.
class ManualClock final : public Clock {
 public:
  Instant now() const override { return now_; }
  int64_t unix_seconds() const override { return 1'700'000'000 + now_.ns / 1'000'000'000; }
  void advance(Duration d) { now_ = now_ + d; }

 private:
  Instant now_{0};
};

}  // namespace fathom
