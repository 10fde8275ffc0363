// What does a million tokens cost? Exactly what the operator wrote: decimals become whole
// micro-units of the currency, so that nobody's sum depends on binary fractions. A gateway tells
// prices and charges nobody.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "gateway/config.h"

namespace fathom {

// "0.27" is 270000. Up to 7 digits before the point and 6 behind it; nothing where it is not that.
std::optional<int64_t> micros_of(std::string_view decimal);
std::string micros_text(int64_t micros);  // the shortest: "0.27", "2", "0"

bool is_currency(std::string_view code);
inline constexpr const char* kPriceRule =
    "must be a decimal such as 0.27, with up to 7 digits and 6 places";
inline constexpr const char* kCurrencyRule = "must be three capital letters such as USD";

// Micro-units of `currency` per million tokens.
struct Prices {
  int64_t input = 0;
  int64_t cached_input = 0;
  int64_t output = 0;
  std::string currency;

  // Errors name the setting. A cached price of 0 is the input price.
  static Result<Prices> from(const GatewayConfig& config);
  // The `pricing` of a model: prices as decimal strings, null when none is told.
  std::string json() const;
};

}  // namespace fathom
