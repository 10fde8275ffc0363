#include "cli/up_plan.h"

#include <gtest/gtest.h>

#include <set>

#include "gateway/config.h"
#include "process/config.h"
#include "router/config.h"
#include "worker/config.h"

namespace fathom {
namespace {

UpPlan plan(int32_t prefill, int32_t decode, int32_t both) {
  UpOptions options;
  options.prefill = prefill;
  options.decode = decode;
  options.both = both;
  options.model = "/models/some";
  options.compute = "bfloat16";
  options.kv_dtype = "int8";
  options.keys = "/etc/keys";
  options.price_input = "0.27";
  options.price_cached_input = "0.07";
  options.price_output = "1.1";
  options.currency = "EUR";
  return plan_up(options).value();
}

TEST(UpPlan, workers_come_first_and_the_gateway_last) {
  std::vector<std::string> names;
  for (const auto& service : plan(1, 2, 1).services) names.push_back(service.name);
  EXPECT_EQ(names, (std::vector<std::string>{"prefill-0", "decode-0", "decode-1", "both-0",
                                             "router", "gateway"}));
}

TEST(UpPlan, the_settings_fit_together) {
  const UpPlan made = plan(1, 1, 0);
  const auto prefill = config_from_text<WorkerConfig>(made.services[0].config);
  const auto decode = config_from_text<WorkerConfig>(made.services[1].config);
  const auto router = config_from_text<RouterConfig>(made.services[2].config);
  const auto gateway = config_from_text<GatewayConfig>(made.services[3].config);
  ASSERT_TRUE(prefill.ok() && decode.ok() && router.ok() && gateway.ok());
  EXPECT_EQ(prefill->role, "prefill");
  EXPECT_EQ(decode->model, "/models/some");
  EXPECT_EQ(decode->compute, "bfloat16");
  EXPECT_EQ(decode->kv_dtype, "int8");
  EXPECT_EQ(router->workers, (std::vector<std::string>{prefill->listen, decode->listen}));
  EXPECT_EQ(gateway->router, router->listen);
  EXPECT_EQ(gateway->listen, "127.0.0.1:8000");
  EXPECT_EQ(gateway->keys_file, "/etc/keys");
  EXPECT_EQ(gateway->price_input_per_million, "0.27");
  EXPECT_EQ(gateway->price_cached_input_per_million, "0.07");
  EXPECT_EQ(gateway->price_output_per_million, "1.1");
  EXPECT_EQ(gateway->currency, "EUR");
  EXPECT_EQ(made.url, "http://127.0.0.1:8000");
}

TEST(UpPlan, every_rank_that_shares_experts_is_a_worker_to_the_router) {
  UpOptions options;
  options.prefill = 0;
  options.decode = 0;
  options.both = 2;
  options.model = "/models/some";
  options.tensor_parallel = 1;
  options.expert_parallel = 3;
  const UpPlan made = plan_up(options).value();
  ASSERT_EQ(made.services.size(), 4u);
  std::vector<std::string> addresses;
  for (size_t i = 0; i < 2; ++i) {
    const auto worker = config_from_text<WorkerConfig>(made.services[i].config);
    EXPECT_EQ(worker->expert_parallel, 3);
    addresses.push_back(worker->listen);
    addresses.insert(addresses.end(), worker->rank_listen.begin(), worker->rank_listen.end());
  }
  EXPECT_EQ(std::set<std::string>(addresses.begin(), addresses.end()).size(), 6u);
  EXPECT_EQ(config_from_text<RouterConfig>(made.services[2].config)->workers, addresses);
}

TEST(UpPlan, no_address_is_given_twice) {
  std::set<std::string> addresses;
  const UpPlan made = plan(3, 3, 3);
  for (size_t i = 0; i < 9; ++i) {
    const auto worker = config_from_text<WorkerConfig>(made.services[i].config);
    EXPECT_TRUE(addresses.insert(worker->listen).second);
    EXPECT_TRUE(addresses.insert(worker->operations_listen).second);
  }
}

}  // namespace
}  // namespace fathom
