// Is it the Philox-4x32-10 of the paper? Its authors' known answers (Random123, kat_vectors), so
// that a seed means the same on every build and device.
#include "base/philox.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

TEST(Philox, gives_the_known_answers_of_its_authors) {
  EXPECT_EQ(philox(0, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, uniform_numbers_lie_in_the_half_open_unit_interval) {
  double sum = 0;
  for (uint64_t i = 0; i < 10000; ++i) {
    const double u = philox_uniform(7, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

TEST(Philox, the_choices_of_a_request_have_seeds_of_their_own) {
  EXPECT_NE(philox_seed(1, 0), philox_seed(1, 1));
  EXPECT_NE(philox_seed(1, 0), philox_seed(2, 0));
}

}  // namespace
}  // namespace fathom
