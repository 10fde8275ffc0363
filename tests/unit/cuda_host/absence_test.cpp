// Does the line about a missing GPU name the cause a person can act on? Host code: this needs no
// GPU.
#include "kernels/cuda/absence.h"

#include <gmock/gmock.h>

#include "kernels/cuda/device.h"

namespace fathom::cuda {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr const char* kInsufficient =
    "CUDA driver version is insufficient for CUDA runtime version";

TEST(Absence, a_machine_without_a_driver_is_not_told_to_update_one) {
  const std::string line = absence_text({.runtime_version = 13000, .error = kInsufficient});
  EXPECT_THAT(line, StartsWith("no NVIDIA driver found: "));
  EXPECT_THAT(line, Not(HasSubstr("insufficient")));
}

TEST(Absence, an_old_driver_is_named_with_both_versions) {
  EXPECT_EQ(
      absence_text({.driver_version = 12040, .runtime_version = 13000, .error = kInsufficient}),
      "the NVIDIA driver is too old: it knows CUDA 12.4, this program was built with CUDA 13.0");
}

TEST(Absence, an_older_minor_version_is_no_reason) {
  EXPECT_EQ(absence_text({.driver_version = 13000,
                          .runtime_version = 13020,
                          .error = "no CUDA-capable device is detected"}),
            "the NVIDIA driver offers no GPU: no CUDA-capable device is detected");
}

TEST(Absence, a_driver_without_a_gpu_and_another_gpu_are_told_apart) {
  EXPECT_EQ(absence_text({.driver_version = 13000, .runtime_version = 13000}),
            "the NVIDIA driver offers no GPU");
  EXPECT_THAT(absence_text({.driver_version = 13000, .runtime_version = 13000, .gpus = 1}),
              HasSubstr("compute capability 9.0"));
}

// With the kernels or without them, on whatever machine this is.
TEST(Absence, this_machine_gets_a_clear_line_too) {
  if (cuda_device_count() > 0) GTEST_SKIP() << "there is a GPU";
  EXPECT_THAT(cuda_absence(), Not(HasSubstr("insufficient")));
  EXPECT_FALSE(cuda_absence().empty());
}

}  // namespace
}  // namespace fathom::cuda
