// Are prices told exactly as they were written, and only where there are any?
#include "gateway/prices.h"

#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

TEST(Prices, decimals_are_whole_micro_units) {
  EXPECT_EQ(micros_of("0"), 0);
  EXPECT_EQ(micros_of("0.27"), 270'000);
  EXPECT_EQ(micros_of("2"), 2'000'000);
  EXPECT_EQ(micros_of("0.000001"), 1);
  EXPECT_EQ(micros_of("9999999.999999"), 9'999'999'999'999);
  EXPECT_EQ(micros_of("00.50"), 500'000);
  for (const char* text : {"", ".", ".5", "5.", "-1", "+1", "1e3", "0.0000001", "10000000", "1,5",
                           " 1", "1 ", "0x1", "1.2.3", "nan"})
    EXPECT_EQ(micros_of(text), std::nullopt) << text;
}

TEST(Prices, what_is_told_is_the_shortest_decimal) {
  for (const char* text : {"0", "1", "0.27", "10.000001", "9999999.999999", "100"})
    EXPECT_EQ(micros_text(*micros_of(text)), text);
  EXPECT_EQ(micros_text(*micros_of("1.10")), "1.1");
  EXPECT_EQ(micros_text(*micros_of("0.000000")), "0");
}

TEST_F(GatewayTest, a_model_without_prices_says_null) {
  start();
  const auto models = parsed(ask(address(), "GET", "/v1/models").body);
  EXPECT_EQ(at(models, "/data/0/pricing"), "null");
}

TEST_F(GatewayTest, every_name_of_a_model_tells_its_prices) {
  start(Kind::v3, {.model_aliases = {"other"},
                   .price_input_per_million = "0.270",
                   .price_cached_input_per_million = "0.07",
                   .price_output_per_million = "1.10",
                   .currency = "EUR"});
  const auto models = parsed(ask(address(), "GET", "/v1/models").body);
  for (const std::string entry : {"/data/0/pricing", "/data/1/pricing"}) {
    EXPECT_EQ(at(models, entry + "/currency"), "EUR");
    EXPECT_EQ(at(models, entry + "/input_per_million"), "0.27");
    EXPECT_EQ(at(models, entry + "/cached_input_per_million"), "0.07");
    EXPECT_EQ(at(models, entry + "/output_per_million"), "1.1");
  }
  EXPECT_EQ(at(parsed(ask(address(), "GET", "/v1/models/other").body), "/pricing/currency"), "EUR");
}

TEST_F(GatewayTest, cached_tokens_cost_like_others_where_nothing_else_is_said) {
  start(Kind::v3, {.price_input_per_million = "2", .price_output_per_million = "3"});
  const auto model = parsed(ask(address(), "GET", "/v1/models/tiny").body);
  EXPECT_EQ(at(model, "/pricing/cached_input_per_million"), "2");
}

TEST_F(GatewayTest, a_price_that_is_none_stops_the_start_and_names_its_setting) {
  const auto refused = [&](const GatewayConfig& config) {
    auto gateway =
        start_gateway(config, {.clock = clock_, .metrics = metrics_, .connect = router_.factory()});
    return gateway.ok() ? "accepted" : gateway.error().field;
  };
  EXPECT_EQ(refused({.price_input_per_million = "free"}), "price_input_per_million");
  EXPECT_EQ(refused({.price_cached_input_per_million = "-1"}), "price_cached_input_per_million");
  EXPECT_EQ(refused({.price_output_per_million = "1e3"}), "price_output_per_million");
  EXPECT_EQ(refused({.currency = "euro"}), "currency");
}

}  // namespace
}  // namespace fathom
