#include "cli/probe.h"

#include <gtest/gtest.h>

#include "net/ports.h"

namespace fathom {
namespace {

TEST(Probe, a_metric_is_found_by_its_whole_name) {
  const std::string text =
      "# HELP load how far\n# TYPE load gauge\nload_more 7\nload 0.25\nother{a=\"b\"} 1\n";
  EXPECT_EQ(metric_in(text, "load"), 0.25);
  EXPECT_EQ(metric_in(text, "load_more"), 7);
  EXPECT_EQ(metric_in(text, "loa"), std::nullopt);
  EXPECT_EQ(metric_in("load 3", "load"), 3);
  EXPECT_EQ(metric_in("", "load"), std::nullopt);
  EXPECT_EQ(metric_in("loads{rank=\"0\"} 9\nload{rank=\"0\"} 0.5\nload{rank=\"1\"} 1\n", "load"),
            0.5);
}

TEST(Probe, a_service_that_is_not_there_is_not_ready) {
  const uint16_t port = free_ports(1).value()[0];
  EXPECT_EQ(not_ready(port), "not listening yet");
  EXPECT_EQ(read_metric(port, "load"), std::nullopt);
}

}  // namespace
}  // namespace fathom
