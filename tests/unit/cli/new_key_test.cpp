// Is a new key fresh, and its entry what the wish said?
#include "cli/new_key.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace fathom {
namespace {

constexpr std::array<uint8_t, 32> kRandom = {1, 2, 3};
constexpr int64_t kNow = 1'700'000'000;

std::string refused(const KeyWish& wish) {
  const auto key = make_key(wish, kRandom, kNow);
  return key.ok() ? "accepted" : key.error().field;
}

TEST(NewKey, the_entry_has_the_digest_of_the_key_that_is_shown) {
  const auto key = make_key({.name = "alice", .days = 1.5, .is_operator = true}, kRandom, kNow);
  ASSERT_TRUE(key.ok()) << key.error().text();
  EXPECT_EQ(key->text, key_text(kRandom));
  EXPECT_EQ(key->entry, (ApiKey{.name = "alice",
                                .sha256 = digest_of(key->text),
                                .expires = kNow + 129'600,
                                .tenant = "alice",
                                .is_operator = true}));
}

TEST(NewKey, without_days_it_never_expires) {
  const auto key = make_key({.name = "alice", .tenant = "red"}, kRandom, kNow);
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(key->entry.expires, std::nullopt);
  EXPECT_EQ(key->entry.tenant, "red");
}

TEST(NewKey, what_no_file_could_hold_names_its_option) {
  EXPECT_EQ(refused({.name = ""}), "NAME");
  EXPECT_EQ(refused({.name = "al\nice"}), "NAME");
  EXPECT_EQ(refused({.name = std::string(65, 'a')}), "NAME");
  EXPECT_EQ(refused({.name = "a", .tenant = "b/c"}), "--tenant");
  EXPECT_EQ(refused({.name = "a", .days = -1}), "--days");
  EXPECT_EQ(refused({.name = "a", .days = 1e9}), "--days");
  EXPECT_EQ(refused({.name = "a", .days = std::nan("")}), "--days");
}

}  // namespace
}  // namespace fathom
