// Does the public service carry a request to its handler and the answer back, and say when a client
// leaves?
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "inference.grpc.pb.h"
#include "mailbox.h"
#include "net/grpc_server.h"
#include "net/inference_service.h"

namespace fathom {
namespace {

// Hands the streams to the test.
class Handler final : public InferenceHandler {
 public:
  using ChatStream = std::shared_ptr<rpc::EventStream<rpc::ChatEvent>>;
  void chat(rpc::Caller caller, rpc::ChatRequest request, ChatStream stream) override {
    chats.put({std::move(caller), std::move(request), std::move(stream)});
  }
  void complete(rpc::Caller, rpc::CompleteRequest request,
                std::shared_ptr<rpc::EventStream<rpc::CompleteEvent>> stream) override {
    const auto& tokens = std::get<std::vector<TokenId>>(request.prompt);
    stream->write({.id = "c", .text = "hi", .token_ids = tokens, .finish_reason = "stop"});
    stream->finish({});
  }
  void tokenize(rpc::Caller, rpc::TokenizeRequest request,
                rpc::Reply<rpc::TokenizeResponse> reply) override {
    if (request.model == "drop") return;
    if (request.model == "none") return reply(Error{Code::not_found, "no such model", "model"});
    reply(rpc::TokenizeResponse{{1, 2}, 4096});
  }
  void list_models(rpc::Caller, rpc::Reply<std::vector<rpc::Model>> reply) override {
    reply(std::vector<rpc::Model>{{"tiny", 17, 4096}});
  }
  struct Chat {
    rpc::Caller caller;
    rpc::ChatRequest request;
    ChatStream stream;
  };
  Mailbox<Chat> chats;
};

struct Inference : testing::Test {
  Inference() : service(make_inference_service(handler)) {
    auto started = start_grpc_server(
        {.message_bytes_max = kPublicMessageBytesMax, .services = {&service->grpc()}});
    EXPECT_TRUE(started.ok());
    server = std::move(started).value();
    stub = v1::Inference::NewStub(
        grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()));
  }
  ~Inference() override { server->stop({}); }

  Handler handler;
  std::unique_ptr<InferenceService> service;
  std::unique_ptr<GrpcServer> server;
  std::unique_ptr<v1::Inference::Stub> stub;
  grpc::ClientContext context;
};

TEST_F(Inference, chat_carries_request_metadata_events_and_the_end) {
  context.AddMetadata("authorization", "Bearer key");
  context.AddMetadata("x-request-id", "r-1");
  v1::ChatRequest request;
  request.set_model("tiny");
  auto& message = *request.add_messages();
  message.set_role("user");
  message.set_content("hello");
  request.mutable_sampling()->set_temperature(0);
  request.mutable_sampling()->set_max_tokens(4);
  (*request.mutable_sampling()->mutable_logit_bias())[3] = 0.5f;
  const auto reader = stub->Chat(&context, request);
  auto chat = handler.chats.take();
  EXPECT_EQ(chat.caller.authorization, "Bearer key");
  EXPECT_EQ(chat.caller.request_id, "r-1");
  EXPECT_EQ(chat.caller.time_left.ns, INT64_MAX);
  EXPECT_EQ(chat.request.messages, (std::vector<rpc::ChatMessage>{{"user", "hello"}}));
  EXPECT_EQ(chat.request.sampling.temperature, 0.0f);
  EXPECT_EQ(chat.request.sampling.max_tokens, 4);
  EXPECT_FALSE(chat.request.sampling.top_p.has_value());
  EXPECT_EQ(chat.request.sampling.logit_bias.at(3), 0.5f);

  for (int i = 0; i < 100; ++i)
    chat.stream->write({.id = "x", .content = std::to_string(i), .token_ids = {i}});
  chat.stream->write({.id = "x", .finish_reason = "stop", .usage = rpc::Usage{1, 2, 3, 4}});
  chat.stream->finish({});
  v1::ChatEvent event;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(reader->Read(&event));
    EXPECT_EQ(event.content(), std::to_string(i));
    EXPECT_EQ(event.token_ids(0), i);
  }
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.finish_reason(), "stop");
  EXPECT_EQ(event.usage().reasoning_tokens(), 4);
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(Inference, errors_become_a_status_with_the_field) {
  const auto reader = stub->Chat(&context, {});
  handler.chats.take().stream->finish(Error{Code::resource_exhausted, "slow down", "tenant"});
  v1::ChatEvent event;
  EXPECT_FALSE(reader->Read(&event));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "slow down (tenant)");
  const auto& trailing = context.GetServerTrailingMetadata();
  ASSERT_EQ(trailing.count("fathom-field"), 1u);
  EXPECT_EQ(trailing.find("fathom-field")->second, "tenant");
}

TEST_F(Inference, handler_hears_once_that_the_client_left) {
  const auto reader = stub->Chat(&context, {});
  auto chat = handler.chats.take();
  Mailbox<bool> left;
  chat.stream->on_cancel([&, stream = chat.stream] { left.put(true); });
  context.TryCancel();
  EXPECT_TRUE(left.take());
  chat.stream->write({.content = "into the void"});
  chat.stream->finish({});
  chat.stream->on_cancel([&] { left.put(true); });  // at once, since it has left
  EXPECT_TRUE(left.take());
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(Inference, client_that_does_not_read_is_cut_off) {
  const auto reader = stub->Chat(&context, {});
  auto chat = handler.chats.take();
  Mailbox<bool> left;
  chat.stream->on_cancel([&] { left.put(true); });
  const std::string piece(100'000, 'x');
  for (int i = 0; i < 1000 && left.empty(); ++i) chat.stream->write({.content = piece});
  EXPECT_TRUE(left.take());
  context.TryCancel();
}

TEST_F(Inference, dropped_stream_ends_with_internal) {
  const auto reader = stub->Chat(&context, {});
  handler.chats.take();
  v1::ChatEvent event;
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INTERNAL);
}

TEST_F(Inference, complete_takes_token_ids_and_refuses_a_missing_prompt) {
  v1::CompleteRequest request;
  request.mutable_token_ids()->add_ids(5);
  v1::CompleteEvent event;
  ASSERT_TRUE(stub->Complete(&context, request)->Read(&event));
  EXPECT_EQ(event.token_ids(0), 5);
  grpc::ClientContext second;
  const auto reader = stub->Complete(&second, {});
  EXPECT_FALSE(reader->Read(&event));
  const auto status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), testing::HasSubstr("prompt"));
}

TEST_F(Inference, unary_calls_answer_refuse_and_never_hang) {
  v1::TokenizeRequest request;
  request.set_text("hi");
  v1::TokenizeResponse response;
  EXPECT_TRUE(stub->Tokenize(&context, request, &response).ok());
  EXPECT_EQ(response.token_ids_size(), 2);
  EXPECT_EQ(response.context_max(), 4096);
  grpc::ClientContext second, third, fourth;
  request.set_model("none");
  EXPECT_EQ(stub->Tokenize(&second, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_model("drop");
  EXPECT_EQ(stub->Tokenize(&third, request, &response).error_code(), grpc::StatusCode::INTERNAL);
  v1::ListModelsResponse models;
  EXPECT_TRUE(stub->ListModels(&fourth, {}, &models).ok());
  EXPECT_EQ(models.models(0).id(), "tiny");
}

}  // namespace
}  // namespace fathom
