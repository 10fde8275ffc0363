// Do gRPC clients get the same answers, refusals and cancellations as HTTP clients?
#include <grpcpp/grpcpp.h>

#include "inference.grpc.pb.h"
#include "tests/unit/gateway/gateway_fixture.h"

namespace fathom {
namespace {

class InferenceTest : public GatewayTest {
 protected:
  void start_grpc(Kind kind = Kind::v3) {
    GatewayConfig config;
    config.grpc_listen = "127.0.0.1:0";
    start(kind, config);
    ASSERT_TRUE(gateway_);
    stub_ = v1::Inference::NewStub(
        grpc::CreateChannel(gateway_->grpc_address(), grpc::InsecureChannelCredentials()));
  }
  static v1::ChatRequest hello() {
    v1::ChatRequest request;
    request.set_model("tiny");
    auto* message = request.add_messages();
    message->set_role("user");
    message->set_content("hi");
    return request;
  }
  grpc::Status chat_status(const v1::ChatRequest& request) {
    grpc::ClientContext context;
    const auto reader = stub_->Chat(&context, request);
    v1::ChatEvent event;
    while (reader->Read(&event)) {
    }
    return reader->Finish();
  }
  std::unique_ptr<v1::Inference::Stub> stub_;
};

TEST_F(InferenceTest, a_chat_streams_text_and_ends_with_reason_and_usage) {
  start_grpc();
  router_.answer_by(says("Hello 漢字"));
  grpc::ClientContext context;
  const auto reader = stub_->Chat(&context, hello());
  std::string text;
  int reasons = 0;
  v1::ChatEvent event;
  while (reader->Read(&event)) {
    text += event.content();
    reasons += !event.finish_reason().empty();
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(text, "Hello 漢字");
  EXPECT_EQ(reasons, 1);
  EXPECT_EQ(event.finish_reason(), "stop");
  EXPECT_EQ(event.usage().completion_tokens(), static_cast<int>(ids("Hello 漢字").size()) + 1);
}

TEST_F(InferenceTest, a_completion_of_token_ids_returns_token_ids) {
  start_grpc(Kind::no_tokenizer);
  router_.answer_by([](const Submit& submit) {
    return std::vector<FromRouter>{tokens_of(submit, 0, {5, 6}, Finish::length)};
  });
  v1::CompleteRequest request;
  request.set_model("tiny");
  for (const int id : {1, 2, 3}) request.mutable_token_ids()->add_ids(id);
  grpc::ClientContext context;
  const auto reader = stub_->Complete(&context, request);
  std::vector<int> got;
  v1::CompleteEvent event;
  while (reader->Read(&event))
    got.insert(got.end(), event.token_ids().begin(), event.token_ids().end());
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(got, (std::vector<int>{5, 6}));
  EXPECT_EQ(router_.next_submit()->tokens, (std::vector<TokenId>{1, 2, 3}));
}

TEST_F(InferenceTest, what_can_not_be_served_is_refused_by_code) {
  start_grpc();
  auto hot = hello();
  hot.mutable_sampling()->set_temperature(5);
  EXPECT_EQ(chat_status(hot).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  auto nan = hello();
  nan.mutable_sampling()->set_top_p(std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(chat_status(nan).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  auto other = hello();
  other.set_model("other");
  EXPECT_EQ(chat_status(other).error_code(), grpc::StatusCode::NOT_FOUND);
  v1::ChatRequest empty;
  empty.set_model("tiny");
  EXPECT_EQ(chat_status(empty).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  router_.refuse_sends(Error{Code::resource_exhausted, "full", ""});
  EXPECT_EQ(chat_status(hello()).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  router_.lose();
  EXPECT_EQ(chat_status(hello()).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(InferenceTest, a_client_that_cancels_is_cancelled_at_the_router) {
  start_grpc();
  grpc::ClientContext context;
  const auto reader = stub_->Chat(&context, hello());
  const auto submit = router_.next_submit();
  ASSERT_TRUE(submit);
  context.TryCancel();
  EXPECT_EQ(router_.next_cancel()->id, submit->id);
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(InferenceTest, a_deadline_travels_to_the_router) {
  start_grpc();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(100));
  const auto reader = stub_->Chat(&context, hello());
  const auto submit = router_.next_submit();
  ASSERT_TRUE(submit);
  EXPECT_LE(submit->time_left, Duration::seconds(102));  // gRPC rounds its deadlines up
  context.TryCancel();
}

TEST_F(InferenceTest, tokenize_and_models_agree_with_http) {
  start_grpc();
  v1::TokenizeRequest request;
  request.set_text("hello there");
  v1::TokenizeResponse response;
  grpc::ClientContext first;
  ASSERT_TRUE(stub_->Tokenize(&first, request, &response).ok());
  const auto http = parsed(post("/tokenize", R"({"prompt":"hello there"})").body);
  EXPECT_EQ(std::to_string(response.token_ids_size()), at(http, "/count"));
  EXPECT_EQ(response.context_max(), 4096);
  v1::ListModelsResponse models;
  grpc::ClientContext second;
  ASSERT_TRUE(stub_->ListModels(&second, {}, &models).ok());
  ASSERT_EQ(models.models_size(), 1);
  EXPECT_EQ(models.models(0).id(), "tiny");
}

}  // namespace
}  // namespace fathom
