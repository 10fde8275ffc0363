#include "base/utc.h"

#include <array>
#include <chrono>
#include <cstdio>

namespace fathom {
namespace {

namespace ch = std::chrono;

// Takes `width` digits from the front of `text`.
std::optional<int> take_digits(std::string_view& text, size_t width) {
  if (text.size() < width) return std::nullopt;
  int value = 0;
  for (const char c : text.substr(0, width)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(width);
  return value;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// What may come after the seconds: a fraction, and the offset of UTC.
bool ends_in_utc(std::string_view rest) {
  if (take(rest, ".")) {
    if (!take_digits(rest, 1)) return false;
    while (take(rest, "0123456789")) {
    }
  }
  return rest == "Z" || rest == "z" || rest == "+00:00" || rest == "-00:00";
}

ch::year_month_day day_of(int64_t unix_seconds) {
  return ch::floor<ch::days>(ch::sys_seconds(ch::seconds(unix_seconds)));
}

}  // namespace

std::optional<int64_t> unix_seconds_of(std::string_view utc) {
  std::array<int, 6> part{};  // year, month, day, hour, minute, second
  constexpr std::array<std::string_view, 6> kAfter = {"-", "-", "Tt ", ":", ":", ""};
  for (size_t i = 0; i < part.size(); ++i) {
    const auto digits = take_digits(utc, i == 0 ? 4 : 2);
    if (!digits || (i + 1 < part.size() && !take(utc, kAfter[i]))) return std::nullopt;
    part[i] = *digits;
  }
  const auto [year, month, day, hour, minute, second] = part;
  const ch::year_month_day date{ch::year(year), ch::month(static_cast<unsigned>(month)),
                                ch::day(static_cast<unsigned>(day))};
  // 60 is a leap second, which unix time counts as the first of the next minute.
  if (!date.ok() || year < 1970 || hour > 23 || minute > 59 || second > 60 || !ends_in_utc(utc))
    return std::nullopt;
  const auto days = ch::sys_days(date).time_since_epoch().count();
  return ((int64_t{days} * 24 + hour) * 60 + minute) * 60 + second;
}

std::string utc_date(int64_t unix_seconds) {
  const ch::year_month_day date = day_of(unix_seconds);
  std::array<char, 32> text{};
  const int length =
      std::snprintf(text.data(), text.size(), "%04d-%02u-%02u", static_cast<int>(date.year()),
                    static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
  return {text.data(), static_cast<size_t>(length)};
}

std::string utc_text(int64_t unix_seconds) {
  const ch::sys_seconds moment{ch::seconds(unix_seconds)};
  const auto of_day = (moment - ch::floor<ch::days>(moment)).count();
  std::array<char, 32> text{};
  const int length =
      std::snprintf(text.data(), text.size(), "T%02d:%02d:%02dZ", static_cast<int>(of_day / 3600),
                    static_cast<int>(of_day / 60 % 60), static_cast<int>(of_day % 60));
  return utc_date(unix_seconds) + std::string(text.data(), static_cast<size_t>(length));
}

}  // namespace fathom
