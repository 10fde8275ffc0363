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
  EXPECT_EQ(made.url, "http://127.0.0.1:8000");
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
