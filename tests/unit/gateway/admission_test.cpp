// Who gets in, and for how long? Over HTTP and gRPC, with keys that come, go and expire while the
// gateway runs.
#include "gateway/admission.h"

#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <fstream>

#include "inference.grpc.pb.h"
#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kDay = "2026-11-01T00:00:00Z";
constexpr int64_t kDaySeconds = 1'793'491'200;

std::string entry(const std::string& name, const std::string& more = "") {
  std::string line = key_line({.name = name, .sha256 = digest_of("sk-" + name), .tenant = name});
  line.pop_back();
  return line + more + "}\n";
}

class AdmissionTest : public GatewayTest {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "fathom_keys_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    file_ = (folder_ / "keys").string();
  }
  void TearDown() override {
    GatewayTest::TearDown();
    std::filesystem::remove_all(folder_);
  }
  void write(const std::string& text) {
    std::ofstream(file_ + ".new") << text;
    std::filesystem::rename(file_ + ".new", file_);
  }
  void start_with(const std::string& text, GatewayConfig config = {}) {
    write(text);
    config.keys_file = file_;
    start(Kind::v3, config);
  }
  RawResponse chat_with(const std::string& header, std::string_view extra = "") {
    return ask(address(), "POST", "/v1/chat/completions", chat_body(extra),
               header.empty() ? "" : header + "\r\n");
  }
  // The status of this header's request once it is `status`; what it is after ten seconds.
  int status_becomes(int status, const std::string& header) {
    const Instant end = clock_.now() + Duration::seconds(10);
    for (;;) {
      const int now = ask(address(), "GET", "/v1/models", "", header + "\r\n").status;
      if (now == status || clock_.now() > end) return now;
    }
  }
  std::unique_ptr<Admission> opened() {
    auto out = Admission::open(file_, clock_, metrics_);
    EXPECT_TRUE(out.ok()) << out.error().text();
    return std::move(*out);
  }
  static int status_of(const Admission& admission, const std::string& name) {
    const std::string shown = "Bearer sk-" + name;
    Asker asker;
    const auto error = admission.admit({.authorization = shown}, asker);
    return error ? error->status : 200;
  }
  double counted(const std::string& sample) const {
    const std::string text = "\n" + metrics_.text();
    const size_t at = text.find("\n" + sample + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + sample.size() + 2));
  }

  std::filesystem::path folder_;
  std::string file_;
};

TEST_F(AdmissionTest, without_a_keys_file_any_key_is_as_good_as_none) {
  start();
  router_.answer_by(says("Hello"));
  EXPECT_EQ(chat().status, 200);
  EXPECT_EQ(chat_with("authorization: Bearer any").status, 200);
  EXPECT_EQ(chat_with("authorization: Basic YTpi").status, 200);
}

TEST_F(AdmissionTest, a_key_is_taken_from_each_place_where_clients_put_it) {
  start_with(entry("alice"));
  router_.answer_by(says("Hello"));
  for (const char* header : {"authorization: Bearer sk-alice", "Authorization: bearer   sk-alice ",
                             "x-api-key: sk-alice", "api-key: sk-alice",
                             "authorization: Bearer unused\r\nx-api-key: sk-alice",
                             "authorization: Bearer sk-alice\r\napi-key: sk-alice"})
    EXPECT_EQ(chat_with(header).status, 200) << header;
}

TEST_F(AdmissionTest, no_key_and_an_unknown_key_are_401_and_say_what_to_do) {
  start_with(entry("alice"));
  const RawResponse missing = chat_with("");
  EXPECT_EQ(missing.status, 401);
  const auto body = parsed(missing.body);
  EXPECT_EQ(at(body, "/error/type"), "invalid_request_error");
  EXPECT_EQ(at(body, "/error/code"), "invalid_api_key");
  EXPECT_EQ(at(body, "/error/param"), "null");
  EXPECT_THAT(at(body, "/error/message"), HasSubstr("Authorization: Bearer KEY"));
  EXPECT_EQ(missing.headers.at("www-authenticate"), "Bearer realm=\"fathom\"");
  EXPECT_TRUE(missing.headers.contains("x-request-id"));
  for (const char* header :
       {"authorization: Bearer sk-bob", "authorization: sk-alice", "authorization: Basic sk-alice",
        "authorization: Bearer", "x-api-key: sk-alic", "api-key: sk-alice2"})
    EXPECT_EQ(chat_with(header).status, 401) << header;
  const RawResponse unknown = chat_with("authorization: Bearer sk-bob");
  EXPECT_EQ(at(parsed(unknown.body), "/error/code"), "invalid_api_key");
  EXPECT_THAT(unknown.headers.at("www-authenticate"), HasSubstr("error=\"invalid_token\""));
  EXPECT_THAT(unknown.body, Not(HasSubstr("sk-bob")));
  EXPECT_EQ(router_.submits(), 0);
  EXPECT_EQ(counted("fathom_gateway_keys_refused_total{reason=\"missing\"}"), 4);
}

TEST_F(AdmissionTest, an_expired_key_says_since_when) {
  start_with(entry("alice", std::string(R"(,"expires":")") + kDay + '"'));
  router_.answer_by(says("Hello"));
  clock_.set_unix_seconds(kDaySeconds - 1);
  EXPECT_EQ(chat_with("authorization: Bearer sk-alice").status, 200);
  clock_.set_unix_seconds(kDaySeconds);
  const RawResponse refused = chat_with("authorization: Bearer sk-alice");
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(at(parsed(refused.body), "/error/code"), "expired_api_key");
  EXPECT_EQ(at(parsed(refused.body), "/error/message"),
            "this key expired on 2026-11-01; ask for a new one");
  EXPECT_THAT(refused.headers.at("www-authenticate"), HasSubstr("expired on 2026-11-01"));
  EXPECT_EQ(counted("fathom_gateway_keys_refused_total{reason=\"expired\"}"), 1);
}

TEST_F(AdmissionTest, a_stream_whose_key_expires_ends_as_if_it_had_not) {
  start_with(entry("alice", std::string(R"(,"expires":")") + kDay + '"'));
  clock_.set_unix_seconds(kDaySeconds - 1);
  RawClient client(address());
  client.send(raw_request("POST", "/v1/chat/completions", chat_body(R"(,"stream":true)"),
                          "authorization: Bearer sk-alice\r\n"));
  const auto submit = router_.next_submit();
  ASSERT_TRUE(submit);
  const auto first = ids("Hello"), second = ids(" there");
  router_.tell({tokens_of(*submit, 0, first)});
  client.read_until("Hello");
  clock_.set_unix_seconds(kDaySeconds + 3600);
  EXPECT_EQ(chat_with("authorization: Bearer sk-alice").status, 401);
  std::vector<TokenId> rest = second;
  rest.push_back(1);
  router_.tell({tokens_of(*submit, static_cast<int>(first.size()), rest, Finish::stop)});
  const std::string end = client.read_until("[DONE]");
  EXPECT_THAT(end, HasSubstr("\"finish_reason\":\"stop\""));
  EXPECT_THAT(end, Not(HasSubstr("error")));
}

TEST_F(AdmissionTest, probes_metrics_and_pages_ask_for_no_key) {
  start_with(entry("alice"));
  for (const char* path : {"/", "/cluster", "/assets/chat/index.html", "/health", "/health/live",
                           "/health/ready", "/ping", "/version", "/metrics"})
    EXPECT_EQ(ask(address(), "GET", path).status, 200) << path;
  for (const char* path : {"/v1/models", "/models", "/v1/models/tiny", "/load"}) {
    EXPECT_EQ(ask(address(), "GET", path).status, 401) << path;
    EXPECT_EQ(ask(address(), "GET", path, "", "x-api-key: sk-alice\r\n").status, 200) << path;
  }
  for (const char* path : {"/v1/completions", "/tokenize", "/detokenize"})
    EXPECT_EQ(post(path, "{}").status, 401) << path;
}

TEST_F(AdmissionTest, the_keys_tenant_takes_the_share_and_the_user_only_divides_it) {
  start_with(entry("alice") + entry("bob", R"(,"tenant":"red")"));
  router_.answer_by(says("Hello"));
  chat_with("x-api-key: sk-bob", R"(,"user":"alice")");
  chat_with("x-api-key: sk-alice");
  const auto bob = router_.next_submit(), alice = router_.next_submit();
  ASSERT_TRUE(bob && alice);
  EXPECT_EQ(bob->tenant, "red");
  EXPECT_EQ(bob->user, "alice");
  EXPECT_EQ(alice->tenant, "alice");
  EXPECT_EQ(alice->user, "");
}

TEST_F(AdmissionTest, without_keys_the_user_is_the_tenant) {
  start();
  router_.answer_by(says("Hello"));
  chat(R"(,"user":"anybody")");
  const auto submit = router_.next_submit();
  EXPECT_EQ(submit->tenant, "anybody");
  EXPECT_EQ(submit->user, "");
}

TEST_F(AdmissionTest, use_is_counted_by_the_name_of_the_key) {
  start_with(entry("alice") + entry("bob"));
  router_.answer_by(says("Hello"));
  const auto body = parsed(chat_with("x-api-key: sk-alice").body);
  chat_with("x-api-key: sk-alice", R"(,"temperature":9)");  // admitted, and then refused
  EXPECT_EQ(counted("fathom_gateway_key_requests_total{key=\"alice\"}"), 2);
  EXPECT_EQ(counted("fathom_gateway_key_requests_total{key=\"bob\"}"), 0);
  EXPECT_EQ(std::to_string(
                static_cast<int>(counted("fathom_gateway_key_prompt_tokens_total{key=\"alice\"}"))),
            at(body, "/usage/prompt_tokens"));
  EXPECT_EQ(std::to_string(static_cast<int>(
                counted("fathom_gateway_key_generated_tokens_total{key=\"alice\"}"))),
            at(body, "/usage/completion_tokens"));
  EXPECT_THAT(metrics_.text(), Not(HasSubstr("sk-")));
}

TEST_F(AdmissionTest, a_changed_file_holds_without_a_restart) {
  start_with(entry("alice"));
  write(entry("bob"));
  EXPECT_EQ(status_becomes(200, "x-api-key: sk-bob"), 200);
  EXPECT_EQ(status_becomes(401, "x-api-key: sk-alice"), 401);
}

TEST_F(AdmissionTest, a_broken_file_changes_nothing_and_is_counted_once) {
  write(entry("alice"));
  const auto admission = opened();
  EXPECT_EQ(counted("fathom_gateway_keys"), 1);
  write(entry("bob") + "{");
  for (int i = 0; i < 3; ++i) admission->look();
  EXPECT_EQ(status_of(*admission, "alice"), 200);
  EXPECT_EQ(status_of(*admission, "bob"), 401);
  EXPECT_EQ(counted("fathom_gateway_keys_unread_total"), 1);
  std::filesystem::remove(file_);
  for (int i = 0; i < 3; ++i) admission->look();
  EXPECT_EQ(status_of(*admission, "alice"), 200);
  EXPECT_EQ(counted("fathom_gateway_keys_unread_total"), 2);
  write(entry("bob"));
  admission->look();
  EXPECT_EQ(status_of(*admission, "alice"), 401);
  EXPECT_EQ(status_of(*admission, "bob"), 200);
  EXPECT_EQ(counted("fathom_gateway_keys_unread_total"), 2);
}

TEST_F(AdmissionTest, a_file_without_keys_lets_nobody_in) {
  write("# everybody was here\n");
  EXPECT_EQ(status_of(*opened(), "alice"), 401);
}

TEST_F(AdmissionTest, what_is_written_within_one_grain_of_the_time_stamp_is_seen_a_look_later) {
  write(entry("alice"));
  const auto admission = opened();
  const auto time = std::filesystem::last_write_time(file_);
  // In place, of the same length and with the same stamp, as if both had happened at once.
  std::ofstream(file_) << entry("carol");
  std::filesystem::last_write_time(file_, time);
  admission->look();
  EXPECT_EQ(status_of(*admission, "carol"), 200);
}

TEST_F(AdmissionTest, a_broken_file_stops_the_start_and_is_named) {
  write("sk-secret\n");
  auto gateway = start_gateway(
      {.keys_file = file_}, {.clock = clock_, .metrics = metrics_, .connect = router_.factory()});
  ASSERT_FALSE(gateway.ok());
  EXPECT_EQ(gateway.error().field, file_ + ":1");
  EXPECT_THAT(gateway.error().text(), Not(HasSubstr("sk-secret")));
}

TEST_F(AdmissionTest, only_an_operator_sees_what_concerns_all) {
  write(entry("alice") + entry("root", R"(,"operator":true)") +
        entry("old", R"(,"operator":true,"expires":"2020-01-01T00:00:00Z")"));
  const auto admission = opened();
  const auto status = [](const Admission& of, const std::string& key) {
    ServerRequest request;
    if (!key.empty()) request.headers.emplace_back("authorization", "Bearer sk-" + key);
    const auto error = of.refuse_operator_data(request);
    return error ? error->status : 200;
  };
  EXPECT_EQ(status(*admission, "root"), 200);
  EXPECT_EQ(status(*admission, "alice"), 403);
  EXPECT_EQ(status(*admission, "old"), 401);
  EXPECT_EQ(status(*admission, ""), 401);
  const auto open = Admission::open("", clock_, metrics_);
  EXPECT_EQ(status(**open, ""), 200);
}

TEST_F(AdmissionTest, grpc_clients_show_the_same_keys) {
  start_with(entry("alice") + entry("old", R"(,"expires":"2020-01-01T00:00:00Z")"),
             {.grpc_listen = "127.0.0.1:0"});
  router_.answer_by(says("Hello"));
  const auto stub = v1::Inference::NewStub(
      grpc::CreateChannel(gateway_->grpc_address(), grpc::InsecureChannelCredentials()));
  const auto models = [&](const char* key, const char* value) {
    grpc::ClientContext context;
    context.AddMetadata(key, value);
    v1::ListModelsResponse out;
    return stub->ListModels(&context, {}, &out);
  };
  for (const auto& [key, value] : {std::pair{"authorization", "Bearer sk-alice"},
                                   {"x-api-key", "sk-alice"},
                                   {"api-key", "sk-alice"}})
    EXPECT_TRUE(models(key, value).ok()) << key;
  EXPECT_EQ(models("x-other", "y").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  const grpc::Status old = models("authorization", "Bearer sk-old");
  EXPECT_EQ(old.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(old.error_message(), "this key expired on 2020-01-01; ask for a new one");

  v1::ChatRequest request;
  request.set_model("tiny");
  auto* message = request.add_messages();
  message->set_role("user");
  message->set_content("hi");
  const auto chat = [&](bool with_key) {
    grpc::ClientContext context;
    if (with_key) context.AddMetadata("authorization", "Bearer sk-alice");
    const auto reader = stub->Chat(&context, request);
    v1::ChatEvent event;
    while (reader->Read(&event)) {
    }
    return reader->Finish().error_code();
  };
  EXPECT_EQ(chat(true), grpc::StatusCode::OK);
  EXPECT_EQ(chat(false), grpc::StatusCode::UNAUTHENTICATED);
  grpc::ClientContext context;
  v1::TokenizeRequest tokenize;
  tokenize.set_text("x");
  v1::TokenizeResponse tokens;
  EXPECT_EQ(stub->Tokenize(&context, tokenize, &tokens).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(router_.next_submit()->tenant, "alice");
}

}  // namespace
}  // namespace fathom
