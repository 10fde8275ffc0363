#include "gateway/inference.h"

#include <atomic>

#include "gateway/inference_request.h"
#include "net/grpc_server.h"
#include "net/inference_service.h"

namespace fathom {
namespace {

rpc::Usage rpc_usage(const UsageCount& usage) {
  return {.prompt_tokens = usage.prompt,
          .completion_tokens = usage.completion,
          .cached_tokens = usage.cached,
          .reasoning_tokens = usage.reasoning};
}

Shown shown_by(const rpc::Caller& caller) {
  return {.authorization = caller.authorization,
          .x_api_key = caller.x_api_key,
          .api_key = caller.api_key};
}

void set_text(rpc::ChatEvent& event, const Delta& delta) {
  event.reasoning_content = delta.reasoning;
  event.content = delta.content;
}
void set_text(rpc::CompleteEvent& event, const Delta& delta) { event.text = delta.content; }

// One choice, an event per step; the last event says why it ended.
template <class Event>
class RpcAnswer final : public Answer {
 public:
  RpcAnswer(std::shared_ptr<rpc::EventStream<Event>> stream, std::string id)
      : stream_(std::move(stream)), id_(std::move(id)) {}
  void begin() override {}
  void keep_alive() override {}
  void prompt_scored(int, std::vector<TokenLogprob>) override {}
  void step(int, const Delta& delta) override {
    Event event;
    event.id = id_;
    set_text(event, delta);
    event.token_ids = delta.token_ids;
    stream_->write(event);
  }
  void end(int, Ending why) override { ending_ = why; }
  void complete(const UsageCount& usage) override {
    Event event;
    event.id = id_;
    event.finish_reason = ending_name(ending_);
    event.usage = rpc_usage(usage);
    stream_->write(event);
    stream_->finish({});
  }
  void fail(const ApiError& error) override { stream_->finish(to_rpc_error(error)); }

 private:
  const std::shared_ptr<rpc::EventStream<Event>> stream_;
  const std::string id_;
  Ending ending_ = Ending::stop;
};

class RpcFront final : public InferenceFront, private InferenceHandler {
 public:
  RpcFront(Served& served, HttpThreads& threads) : served_(served), threads_(threads) {}
  ~RpcFront() override { stop(); }

  Status listen(const std::string& address) {
    service_ = make_inference_service(*this);
    GrpcServerOptions options{.listen = address, .message_bytes_max = kPublicMessageBytesMax};
    options.services.push_back(&service_->grpc());
    FATHOM_TRY(server_, start_grpc_server(options));
    server_->set_serving(true);
    return {};
  }
  std::string address() const override { return server_->address(); }
  void drain() override { server_->set_serving(false); }
  void stop() override {
    if (server_) server_->stop(Duration::ms(0));
    server_.reset();
  }

 private:
  void chat(rpc::Caller caller, rpc::ChatRequest request,
            std::shared_ptr<rpc::EventStream<rpc::ChatEvent>> stream) override {
    generate(std::move(caller), request, std::move(stream), "grpc_chat");
  }
  void complete(rpc::Caller caller, rpc::CompleteRequest request,
                std::shared_ptr<rpc::EventStream<rpc::CompleteEvent>> stream) override {
    generate(std::move(caller), request, std::move(stream), "grpc_complete");
  }
  void tokenize(rpc::Caller caller, rpc::TokenizeRequest request,
                rpc::Reply<rpc::TokenizeResponse> reply) override;
  void list_models(rpc::Caller caller, rpc::Reply<std::vector<rpc::Model>> reply) override;

  template <class Request, class Event>
  void generate(rpc::Caller caller, const Request& request,
                std::shared_ptr<rpc::EventStream<Event>> stream, const char* route);
  template <class Event>
  void run(Run&& where, Generate&& request, std::shared_ptr<rpc::EventStream<Event>> stream,
           const char* route);

  Served& served_;
  HttpThreads& threads_;
  std::atomic<unsigned> next_thread_{0};
  std::unique_ptr<InferenceService> service_;
  std::unique_ptr<GrpcServer> server_;
};

// Parsed on the gRPC thread; from there on the request lives on one of the gateway's loops.
template <class Request, class Event>
void RpcFront::generate(rpc::Caller caller, const Request& request,
                        std::shared_ptr<rpc::EventStream<Event>> stream, const char* route) {
  Run where{.thread = static_cast<int>(next_thread_++ % static_cast<unsigned>(threads_.count())),
            .trace = std::move(caller.request_id),
            .received = served_.clock().now(),
            .time_left = caller.time_left};
  Asker asker;
  std::optional<ApiError> refusal = served_.admission().admit(shown_by(caller), asker);
  Generate parsed;
  if (!refusal) refusal = read_rpc(request, served_.parse_limits(), parsed);
  if (const auto& error = refusal) {
    served_.metrics().request(route, error->status);
    return stream->finish(to_rpc_error(*error));
  }
  asker.claim(parsed);
  where.use = asker.use;
  const int thread = where.thread;
  threads_.post(thread, [this, where = std::move(where), parsed = std::move(parsed), stream,
                         route]() mutable {
    run(std::move(where), std::move(parsed), std::move(stream), route);
  });
}

template <class Event>
void RpcFront::run(Run&& where, Generate&& request, std::shared_ptr<rpc::EventStream<Event>> stream,
                   const char* route) {
  const auto count = [this, route](int status) { served_.metrics().request(route, status); };
  const int thread = where.thread;
  std::shared_ptr<Generation> generation;
  const auto make_answer = [&](const Generate& running) {
    return std::make_unique<RpcAnswer<Event>>(stream, served_.next_head(running.surface).id);
  };
  if (const auto error =
          served_.run(std::move(where), std::move(request), make_answer, count, generation)) {
    count(error->status);
    return stream->finish(to_rpc_error(*error));
  }
  stream->on_cancel([this, thread, weak = std::weak_ptr(generation)] {
    threads_.post(thread, [weak] {
      if (const auto running = weak.lock()) running->client_left();
    });
  });
}

void RpcFront::tokenize(rpc::Caller caller, rpc::TokenizeRequest request,
                        rpc::Reply<rpc::TokenizeResponse> reply) {
  Tokenize parsed;
  Asker asker;
  std::optional<ApiError> error = served_.admission().admit(shown_by(caller), asker);
  if (!error) error = read_rpc(request, parsed);
  if (!error) error = served_.check_model(parsed.model, false);
  rpc::TokenizeResponse response{.context_max = served_.context_max()};
  const int64_t now = served_.clock().unix_seconds();
  if (!error) error = encode_input(served_.model(), std::move(parsed), now, response.token_ids);
  served_.metrics().request("grpc_tokenize", error ? error->status : 200);
  if (error) return reply(to_rpc_error(*error));
  reply(std::move(response));
}

void RpcFront::list_models(rpc::Caller caller, rpc::Reply<std::vector<rpc::Model>> reply) {
  Asker asker;
  if (const auto error = served_.admission().admit(shown_by(caller), asker)) {
    served_.metrics().request("grpc_models", error->status);
    return reply(to_rpc_error(*error));
  }
  std::vector<std::string> names;
  if (const std::string name = served_.model_name(); !name.empty()) names.push_back(name);
  names.insert(names.end(), served_.config().model_aliases.begin(),
               served_.config().model_aliases.end());
  std::vector<rpc::Model> models;
  for (const std::string& name : names)
    models.push_back(
        {.id = name, .created = served_.started(), .context_max = served_.context_max()});
  served_.metrics().request("grpc_models", 200);
  reply(std::move(models));
}

}  // namespace

Result<std::unique_ptr<InferenceFront>> serve_inference(const std::string& listen, Served& served,
                                                        HttpThreads& threads) {
  auto front = std::make_unique<RpcFront>(served, threads);
  if (const Status listening = front->listen(listen); !listening.ok()) return listening.error();
  return std::unique_ptr<InferenceFront>(std::move(front));
}

}  // namespace fathom
