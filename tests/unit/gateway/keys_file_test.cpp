// Is a keys file read as it stands, whole or not at all, without ever repeating what is in it?
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <numeric>

#include "gateway/keys.h"

namespace fathom {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string hex_digest(char digit) { return std::string(64, digit); }

std::string line(const std::string& name, char digit, const std::string& more = "") {
  return R"({"name":")" + name + R"(","sha256":")" + hex_digest(digit) + '"' + more + "}\n";
}

TEST(Keys, a_file_may_have_comments_blank_lines_and_any_line_ends) {
  const auto ring = KeyRing::parse("# of the team\r\n\r\n  " + line("alice", 'a') + "\t\n" +
                                       line("bob", 'B',
                                            R"(,"expires":"2026-11-01T00:00:00Z","tenant":"red",)"
                                            R"("operator":true)"),
                                   "keys");
  ASSERT_TRUE(ring.ok()) << ring.error().text();
  ASSERT_EQ(ring->keys().size(), 2u);
  const ApiKey& alice = ring->keys()[0];
  EXPECT_EQ(alice.name, "alice");
  EXPECT_EQ(alice.tenant, "alice");
  EXPECT_EQ(alice.expires, std::nullopt);
  EXPECT_FALSE(alice.is_operator);
  const ApiKey& bob = ring->keys()[1];
  EXPECT_EQ(bob.tenant, "red");
  EXPECT_EQ(bob.expires, 1'793'491'200);
  EXPECT_TRUE(bob.is_operator);
}

TEST(Keys, a_key_is_found_by_its_digest) {
  EXPECT_THAT(key_line({.name = "x", .sha256 = digest_of("abc"), .tenant = "x"}),
              HasSubstr("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
  std::string text;
  for (const char* name : {"first", "second", "third"})
    text +=
        key_line({.name = name, .sha256 = digest_of(std::string("sk-") + name), .tenant = name}) +
        "\n";
  const auto ring = KeyRing::parse(text, "keys");
  ASSERT_TRUE(ring.ok());
  for (const char* name : {"first", "second", "third"}) {
    const ApiKey* found = ring->find(std::string("sk-") + name);
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(found->name, name);
  }
  for (const char* other : {"", "sk-", "sk-firs", "sk-firstt", "SK-FIRST", "first"})
    EXPECT_EQ(ring->find(other), nullptr) << other;
}

TEST(Keys, a_line_that_was_written_is_read_again) {
  const ApiKey key{.name = "a.b-c_1",
                   .sha256 = digest_of("sk-x"),
                   .expires = 1'793'491'200,
                   .tenant = "red",
                   .is_operator = true};
  const auto ring = KeyRing::parse(key_line(key), "keys");
  ASSERT_TRUE(ring.ok()) << ring.error().text();
  EXPECT_EQ(ring->keys(), std::vector{key});
}

TEST(Keys, a_wrong_line_is_named_but_never_repeated) {
  const std::string good = line("alice", 'a');
  struct Case {
    std::string bad, says;
  };
  const std::string secret = "sk-secret";
  for (const auto& [bad, says] : {
           Case{secret, "not JSON"},
           {"[\"" + secret + "\"]", "not a JSON object"},
           {R"({"name":"bob"})", "'sha256'"},
           {R"({"sha256":")" + hex_digest('b') + "\"}", "'name'"},
           {R"({"name":"bob","sha256":")" + secret + "\"}", "'sha256'"},
           {R"({"name":"bob","key":")" + secret + R"(","sha256":")" + hex_digest('b') + "\"}",
            "field nobody knows"},
           {line("bo b", 'b'), "'name'"},
           {line("bob", 'b', R"(,"expires":"2026-11-01")"), "'expires'"},
           {line("bob", 'b', R"(,"expires":20261101)"), "'expires'"},
           {line("bob", 'b', R"(,"operator":"yes")"), "'operator'"},
           {line("bob", 'b', R"(,"tenant":"a/b")"), "'tenant'"},
           {line("bob", 'b', R"(,"tenant":"")"), "'tenant'"},
           {line("alice", 'b'), "'name' is taken"},
           {line("bob", 'a'), "'sha256' is the one"},
           {line("bob", 'b') + "x", "not JSON"},
           {line(std::string(5000, 'b'), 'b'), "longer than 4096"},
       }) {
    const auto ring = KeyRing::parse(good + bad, "keys");
    ASSERT_FALSE(ring.ok()) << bad;
    EXPECT_THAT(ring.error().message, HasSubstr(says));
    EXPECT_THAT(ring.error().field, testing::StartsWith("keys:")) << bad;
    EXPECT_THAT(ring.error().text(), Not(HasSubstr(secret)));
  }
}

TEST(Keys, two_keys_may_share_a_tenant) {
  EXPECT_TRUE(
      KeyRing::parse(
          line("old", 'a', R"(,"tenant":"red")") + line("new", 'b', R"(,"tenant":"red")"), "keys")
          .ok());
}

TEST(Keys, there_is_a_largest_number) {
  std::string text;
  for (size_t i = 0; i <= kKeysMax; ++i) {
    const std::string name = "k" + std::to_string(i);
    text += key_line({.name = name, .sha256 = digest_of(name), .tenant = name}) + "\n";
    if (i + 1 == kKeysMax) {
      EXPECT_TRUE(KeyRing::parse(text, "keys").ok());
    }
  }
  EXPECT_THAT(KeyRing::parse(text, "keys").error().message, HasSubstr("more than 4096"));
}

TEST(Keys, a_fresh_key_is_all_of_its_random_bytes) {
  std::array<uint8_t, 32> random{};
  std::iota(random.begin(), random.end(), uint8_t{0});
  EXPECT_EQ(key_text(random),
            "sk-000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
}

TEST(Keys, a_file_that_is_none_is_refused) {
  EXPECT_EQ(read_keys_file("/nowhere/keys").error().code, Code::not_found);
  EXPECT_THAT(read_keys_file("/dev/zero").error().message, HasSubstr("not a regular file"));
  EXPECT_THAT(read_keys_file("/").error().message, HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace fathom
