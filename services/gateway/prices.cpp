#include "gateway/prices.h"

#include <algorithm>

namespace fathom {
namespace {

constexpr size_t kWholeDigitsMax = 7;
constexpr size_t kPlaces = 6;

bool is_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

int64_t number_of(std::string_view digits) {
  int64_t value = 0;
  for (const char c : digits) value = value * 10 + (c - '0');
  return value;
}

}  // namespace

std::optional<int64_t> micros_of(std::string_view decimal) {
  const size_t point = decimal.find('.');
  const std::string_view whole = decimal.substr(0, point);
  if (!is_digits(whole) || whole.size() > kWholeDigitsMax) return std::nullopt;
  std::string places;
  if (point != std::string_view::npos) {
    places = decimal.substr(point + 1);
    if (!is_digits(places) || places.size() > kPlaces) return std::nullopt;
  }
  places.resize(kPlaces, '0');
  return number_of(whole) * 1'000'000 + number_of(places);
}

bool is_currency(std::string_view code) {
  return code.size() == 3 && std::ranges::all_of(code, [](char c) { return c >= 'A' && c <= 'Z'; });
}

std::string micros_text(int64_t micros) {
  std::string out = std::to_string(micros / 1'000'000);
  std::string places = std::to_string(1'000'000 + micros % 1'000'000);
  places.front() = '.';
  while (places.back() == '0') places.pop_back();
  return places == "." ? out : out + places;
}

Result<Prices> Prices::from(const GatewayConfig& config) {
  Prices out{.currency = config.currency};
  struct Setting {
    const char* name;
    const std::string& text;
    int64_t& micros;
  };
  for (const auto& [name, text, micros] :
       {Setting{"price_input_per_million", config.price_input_per_million, out.input},
        Setting{"price_cached_input_per_million", config.price_cached_input_per_million,
                out.cached_input},
        Setting{"price_output_per_million", config.price_output_per_million, out.output}}) {
    const auto value = micros_of(text);
    if (!value) return invalid(kPriceRule, name);
    micros = *value;
  }
  if (!is_currency(out.currency)) return invalid(kCurrencyRule, "currency");
  if (out.cached_input == 0) out.cached_input = out.input;
  return out;
}

std::string Prices::json() const {
  if (input == 0 && cached_input == 0 && output == 0) return "null";
  return R"({"currency":")" + currency + R"(","input_per_million":")" + micros_text(input) +
         R"(","cached_input_per_million":")" + micros_text(cached_input) +
         R"(","output_per_million":")" + micros_text(output) + "\"}";
}

}  // namespace fathom
