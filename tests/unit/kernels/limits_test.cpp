// Are the measured limits believable? Time is counted here by calls, so only what was done with it
// shows.
#include "kernels/cpu/limits.h"

#include <gtest/gtest.h>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/table.h"

namespace fathom {
namespace {

TEST(Limits, every_table_reads_and_multiplies) {
  const auto lanes = make_lanes(2);
  for (const char* name : {"portable", "avx2", "avx512", "amx"}) {
    const Ops* ops = cpu_ops_named(name);
    if (ops == nullptr) continue;
    double now = 0;  // every look at the clock takes a millisecond
    const MachineLimits limits = measure_limits({.ops = ops,
                                                 .lanes = lanes.get(),
                                                 .seconds = [&now] { return now += 1e-3; },
                                                 .measure_s = 0.01,
                                                 .memory = size_t{32} << 20});
    EXPECT_DOUBLE_EQ(limits.read_bytes_s, (1 << 24) / 1e-3) << name;
    EXPECT_GT(limits.float32_flops_s, 0) << name;
    EXPECT_GE(limits.bfloat16_flops_s, limits.float32_flops_s) << name;
  }
}

TEST(Limits, the_inner_loops_are_those_of_the_table) {
  for (const char* name : {"portable", "avx2", "avx512", "amx"})
    if (const Ops* ops = cpu_ops_named(name)) {
      EXPECT_STREQ(ops->name, name) << "a table says who it is";
      EXPECT_EQ(&cpu_inner(*ops), &cpu_inner(*cpu_ops_named(name)));
    }
}

}  // namespace
}  // namespace fathom
