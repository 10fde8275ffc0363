#include "process/config.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

struct Peer {
  std::string host = "localhost";
  int port = 1;
  template <class V>
  void fields(V& v) {
    v("host", host, "name of the peer");
    v("port", port, "its port");
  }
};
struct Settings {
  std::string name = "x";
  double ratio = 0.5;
  bool on = false;
  std::vector<Peer> peers;
  template <class V>
  void fields(V& v) {
    v("name", name, "a name");
    v("ratio", ratio, "a ratio");
    v("on", on, "a switch");
    v("peers", peers, "who else");
  }
};

TEST(Config, what_the_file_does_not_name_keeps_its_default) {
  const auto settings = config_from_text<Settings>("on: true\npeers: [{port: 7}]\n");
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->name, "x");
  EXPECT_TRUE(settings->on);
  ASSERT_EQ(settings->peers.size(), 1u);
  EXPECT_EQ(settings->peers[0].host, "localhost");
  EXPECT_EQ(settings->peers[0].port, 7);
}

TEST(Config, an_unknown_key_is_named_with_its_path) {
  const auto settings = config_from_text<Settings>("peers: [{prt: 7}]");
  ASSERT_FALSE(settings.ok());
  EXPECT_EQ(settings.error().field, "peers[0].prt");
}

TEST(Config, a_wrong_type_is_named_with_its_path) {
  const auto settings = config_from_text<Settings>("ratio: [1]");
  ASSERT_FALSE(settings.ok());
  EXPECT_EQ(settings.error().field, "ratio");
  EXPECT_EQ(config_from_text<Settings>("peers: [{port: many}]").error().field, "peers[0].port");
}

TEST(Config, a_key_that_is_no_word_is_refused) {
  for (const char* text : {"[a, b]: 1", "{x: 1}: 2", "name: y\n? {on: true}\n: 3"}) {
    const auto settings = config_from_text<Settings>(text);
    ASSERT_FALSE(settings.ok()) << text;
    EXPECT_EQ(settings.error().field, "settings") << text;
  }
  EXPECT_EQ(config_from_text<Settings>("peers: [{[1]: 2}]").error().field, "peers[0]");
}

TEST(Config, text_that_is_not_yaml_names_the_file) {
  const auto settings = config_from_text<Settings>("a: [", "router.yaml");
  ASSERT_FALSE(settings.ok());
  EXPECT_EQ(settings.error().field, "router.yaml");
}

}  // namespace
}  // namespace fathom
