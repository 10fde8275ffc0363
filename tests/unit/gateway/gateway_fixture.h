// What does every test of the gateway need? A running gateway on a free port, a fake router behind
// it, and short words for asking it things.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/json/value.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "gateway/gateway.h"
#include "tests/unit/gateway/fake_router.h"
#include "tests/unit/net_http/raw_client.h"
#include "text/tokenizer.h"

namespace fathom {

// minnow: the template of the model that ships; with special_markers the tokens of tool calls are
// special, which they are not in DeepSeek's tokenizers.
enum class Kind { v3, r1, no_tokenizer, strange_template, own_template, minnow, special_markers };

// The system's, until a test says what the calendar shows.
class TestClock final : public Clock {
 public:
  Instant now() const override { return system_.now(); }
  int64_t unix_seconds() const override {
    const int64_t set = unix_seconds_;
    return set < 0 ? system_.unix_seconds() : set;
  }
  void set_unix_seconds(int64_t seconds) { unix_seconds_ = seconds; }

 private:
  SystemClock system_;
  std::atomic<int64_t> unix_seconds_{-1};
};

class GatewayTest : public testing::Test {
 protected:
  void start(Kind kind = Kind::v3, GatewayConfig config = {});  // and connects the router
  void start_unconnected(Kind kind, GatewayConfig config);
  void TearDown() override;

  std::string address() const { return gateway_->address(); }
  RawResponse post(std::string_view target, std::string_view body) {
    return ask(address(), "POST", target, body);
  }
  RawResponse chat(std::string_view extra = "");  // one user message "hi"
  static std::string chat_body(std::string_view extra = "");

  std::vector<TokenId> ids(std::string_view text) const;  // of text that becomes no special tokens
  // A script that says `text` to everybody, some tokens per message, ending with EOS.
  FakeRouter::Script says(std::string text, size_t per_message = 1,
                          Specials specials = Specials::as_text);

  TestClock clock_;
  Metrics metrics_;
  FakeRouter router_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Gateway> gateway_;
  std::filesystem::path directory_;
};

boost::json::value parsed(std::string_view text);  // null where it is not JSON
std::string at(const boost::json::value& value,
               std::string_view pointer);  // "" where there is nothing
// The JSON documents of the data: lines, without [DONE].
std::vector<boost::json::value> events_of(std::string_view sse);
// What a client makes of a stream: all of `choices[index].delta.<key>` or `.text` joined.
std::string joined(const std::vector<boost::json::value>& events, int index,
                   std::string_view pointer);

Tokens tokens_of(const Submit& submit, int first, std::vector<TokenId> ids,
                 Finish finish = Finish::none);

}  // namespace fathom
