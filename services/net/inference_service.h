// What can a client ask over gRPC? The public service of protos/inference.proto as plain values:
// the gateway implements InferenceHandler and never sees protobuf. Every call ends exactly once: by
// finish(), by the client leaving, or, when a handler drops its stream unfinished, with INTERNAL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace grpc {
class Service;
}

namespace fathom {
namespace rpc {

// Who calls, from the call's metadata.
struct Caller {
  std::string peer;           // "ipv4:127.0.0.1:53412"
  std::string authorization;  // the metadata of that name, e.g. "Bearer sk-..."; empty when absent
  std::string x_api_key;      // metadata "x-api-key" and "api-key", the other ways to send it
  std::string api_key;
  std::string request_id;         // metadata "x-request-id"
  Duration time_left{INT64_MAX};  // until the client's deadline; INT64_MAX means none
};

// Absent means the model's default. Values are as they came: the handler checks them as it does for
// HTTP.
struct SamplingOptions {
  std::optional<float> temperature, top_p, min_p;
  std::optional<int32_t> top_k;
  std::optional<float> repetition_penalty, frequency_penalty, presence_penalty;
  std::map<TokenId, float> logit_bias;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  std::optional<int32_t> min_tokens, max_tokens;
  std::optional<bool> ignore_eos;
  bool operator==(const SamplingOptions&) const = default;
};

struct ChatMessage {
  std::string role;  // system | user | assistant; checked by the handler
  std::string content;
  bool operator==(const ChatMessage&) const = default;
};

struct ChatRequest {
  std::string model;
  std::vector<ChatMessage> messages;
  SamplingOptions sampling;
  bool operator==(const ChatRequest&) const = default;
};

struct Usage {
  int32_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0, reasoning_tokens = 0;
  bool operator==(const Usage&) const = default;
};

struct ChatEvent {
  std::string id, reasoning_content, content;
  std::vector<TokenId> token_ids;
  std::string finish_reason;   // empty until the last event
  std::optional<Usage> usage;  // with the last event
  bool operator==(const ChatEvent&) const = default;
};

struct CompleteRequest {
  std::string model;
  std::variant<std::string, std::vector<TokenId>> prompt;
  SamplingOptions sampling;
  bool operator==(const CompleteRequest&) const = default;
};

struct CompleteEvent {
  std::string id, text;
  std::vector<TokenId> token_ids;
  std::string finish_reason;
  std::optional<Usage> usage;
  bool operator==(const CompleteEvent&) const = default;
};

struct TokenizeRequest {
  std::string model;
  std::variant<std::string, std::vector<ChatMessage>> input;
  bool operator==(const TokenizeRequest&) const = default;
};
struct TokenizeResponse {
  std::vector<TokenId> token_ids;
  int32_t context_max = 0;
  bool operator==(const TokenizeResponse&) const = default;
};

struct Model {
  std::string id;
  int64_t created = 0;
  int32_t context_max = 0;
  bool operator==(const Model&) const = default;
};

// The answering side of one streaming call. All of it may be called from any thread and never
// blocks.
template <class Event>
class EventStream {
 public:
  virtual ~EventStream() = default;
  // Queues an event. Ignored once the call is finished or cancelled. A client that leaves more than
  // kStreamBytesMax unread is cut off with RESOURCE_EXHAUSTED, which the handler sees as a
  // cancellation.
  virtual void write(const Event& event) = 0;
  // Ends the call after what was written. The first call counts.
  virtual void finish(Status status) = 0;
  // `left` runs at most once, when the client leaves or its deadline passes before finish; at once
  // if it has left already. Set it before handing the stream to others; only the last one set is
  // kept. It is let go of when the call ends, so it may hold the stream.
  virtual void on_cancel(std::function<void()> left) = 0;
};
inline constexpr size_t kStreamBytesMax = size_t{4} << 20;

template <class Response>
using Reply = std::function<void(Result<Response>)>;  // call exactly once, from any thread

}  // namespace rpc

// Implemented by the gateway. Called on gRPC threads; must not block. Errors become the gRPC
// status: the code, the message, and the field as " (field)" behind it and in the trailing metadata
// `fathom-field`.
class InferenceHandler {
 public:
  virtual ~InferenceHandler() = default;
  virtual void chat(rpc::Caller caller, rpc::ChatRequest request,
                    std::shared_ptr<rpc::EventStream<rpc::ChatEvent>> stream) = 0;
  virtual void complete(rpc::Caller caller, rpc::CompleteRequest request,
                        std::shared_ptr<rpc::EventStream<rpc::CompleteEvent>> stream) = 0;
  virtual void tokenize(rpc::Caller caller, rpc::TokenizeRequest request,
                        rpc::Reply<rpc::TokenizeResponse> reply) = 0;
  virtual void list_models(rpc::Caller caller, rpc::Reply<std::vector<rpc::Model>> reply) = 0;
};

class InferenceService {
 public:
  virtual ~InferenceService() = default;
  virtual grpc::Service& grpc() = 0;  // for GrpcServerOptions::services
};

// `handler` outlives the service; destroy the service after the server that carries it.
std::unique_ptr<InferenceService> make_inference_service(InferenceHandler& handler);

}  // namespace fathom
