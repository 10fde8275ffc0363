// Does a browser get the pages out of the executable, with a policy that lets them reach nothing
// but this gateway?
#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST_F(GatewayTest, both_pages_are_served_before_any_router_is_there) {
  start_unconnected(Kind::no_tokenizer, {});
  for (const char* path : {"/", "/cluster", "/cluster/", "/assets/chat/index.html"}) {
    const RawResponse page = ask(address(), "GET", path, "");
    EXPECT_EQ(page.status, 200) << path;
    EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8") << path;
    EXPECT_THAT(page.body, HasSubstr("<!doctype html>")) << path;
  }
}

TEST_F(GatewayTest, a_page_may_load_only_what_its_own_gateway_serves) {
  start(Kind::no_tokenizer);
  const RawResponse page = ask(address(), "GET", "/", "");
  const std::string policy = page.headers.at("content-security-policy");
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(policy, HasSubstr("script-src 'self';"));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  EXPECT_THAT(policy, Not(HasSubstr("http")));
  EXPECT_EQ(page.headers.at("x-content-type-options"), "nosniff");
}

TEST_F(GatewayTest, an_unchanged_page_is_not_sent_twice) {
  start(Kind::no_tokenizer);
  const RawResponse first = ask(address(), "GET", "/", "");
  RawClient client(address());
  client.send("GET / HTTP/1.1\r\nhost: x\r\nif-none-match: W/" + first.headers.at("etag") +
              ", \"other\"\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nif-none-match: \"other\"\r\n\r\n");
  const RawResponse second = client.read_response();
  EXPECT_EQ(second.status, 304);
  EXPECT_EQ(second.body, "");
  EXPECT_EQ(second.headers.at("etag"), first.headers.at("etag"));
  EXPECT_EQ(client.read_response().body, first.body);
}

TEST_F(GatewayTest, nothing_beside_the_pages_can_be_read) {
  start(Kind::no_tokenizer);
  for (const char* path : {"/assets/", "/assets/nothing.js", "/assets/../gateway.cpp",
                           "/assets/%2e%2e/%2e%2e/etc/passwd", "/assets//etc/passwd"})
    EXPECT_EQ(ask(address(), "GET", path, "").status, 404) << path;
  EXPECT_EQ(ask(address(), "POST", "/", "{}").status, 405);
  EXPECT_EQ(ask(address(), "DELETE", "/assets/chat/index.html", "").status, 405);
}

TEST_F(GatewayTest, pages_can_be_switched_off) {
  start(Kind::no_tokenizer, {.pages = false});
  EXPECT_EQ(ask(address(), "GET", "/", "").status, 404);
  EXPECT_EQ(ask(address(), "GET", "/v1/models", "").status, 200);
}

}  // namespace
}  // namespace fathom
