#include "gateway/front.h"

#include "base/version.h"
#include "gateway/json_text.h"
#include "gateway/openai_answer.h"

namespace fathom {

void Front::handle(std::shared_ptr<HttpExchange> exchange) {
  const Instant received = served_.clock().now();
  const ServerRequest& request = exchange->request();
  const Routed routed = find_route(request.method, request.path, request.query);
  Asker asker;
  if (needs_key(routed.route))
    if (const auto error = served_.admission().admit(shown_in(request), asker))
      return refuse(*exchange, routed, *error, received);
  if (routed.route == Route::chat || routed.route == Route::completions)
    return generate(exchange, routed, asker, received);
  if (routed.route == Route::cluster_state || routed.route == Route::cluster_events)
    return watch(exchange, routed, received);
  ServerResponse response = answer(routed, request);
  add_openai_headers(response, served_.clock(), received);
  served_.metrics().request(routed.name, response.status);
  exchange->respond(std::move(response));
}

ServerResponse Front::refuse(int status, std::string_view message) {
  ServerResponse response = error_response(from_status(status, std::string(message)));
  add_openai_headers(response, served_.clock(), served_.clock().now());
  served_.metrics().request("refused", status);
  return response;
}

void Front::refuse(HttpExchange& exchange, const Routed& routed, const ApiError& error,
                   Instant received) {
  served_.metrics().request(routed.name, error.status);
  ServerResponse response = error_response(error);
  add_openai_headers(response, served_.clock(), received);
  exchange.respond(std::move(response));
}

void Front::generate(const std::shared_ptr<HttpExchange>& exchange, const Routed& routed,
                     const Asker& asker, Instant received) {
  const std::string& body = exchange->request().body;
  const bool chat = routed.route == Route::chat;
  Parsed<Generate> parsed = chat ? parse_chat(body, served_.parse_limits())
                                 : parse_completion(body, served_.parse_limits());
  served_.metrics().unknown_fields.Increment(parsed.unknown_fields);
  asker.claim(parsed.request);
  std::shared_ptr<Generation> generation;
  const auto make_answer = [&](const Generate& request) {
    OpenAiContext context{.exchange = exchange,
                          .request = request,
                          .tokenizer = served_.model().tokenizer.get(),
                          .head = served_.next_head(request.surface),
                          .clock = served_.clock(),
                          .received = received};
    return request.stream ? make_stream_answer(std::move(context))
                          : make_whole_answer(std::move(context));
  };
  const auto count = [this, name = routed.name](int status) {
    served_.metrics().request(name, status);
  };
  std::optional<ApiError> error = std::move(parsed.error);
  if (!error)
    error = served_.run({.thread = exchange->thread(),
                         .trace = exchange->request().id,
                         .received = received,
                         .use = asker.use},
                        std::move(parsed.request), make_answer, count, generation);
  if (error) return refuse(*exchange, routed, *error, received);
  exchange->on_closed([weak = std::weak_ptr(generation)](HttpClosed) {
    if (const auto running = weak.lock()) running->client_left();
  });
}

void Front::watch(const std::shared_ptr<HttpExchange>& exchange, const Routed& routed,
                  Instant received) {
  const ServerRequest& request = exchange->request();
  if (const auto error = served_.admission().refuse_operator_data(request))
    return refuse(*exchange, routed, *error, received);
  if (cluster_.draining())
    return refuse(*exchange, routed, from_status(503, "the gateway is draining"), received);
  const auto count = [this, name = routed.name](int status) {
    served_.metrics().request(name, status);
  };
  if (routed.route == Route::cluster_state) return cluster_.answer_state(exchange, count);
  const std::string_view id = request.header("last-event-id");
  const std::optional<WatchFrom> from = parse_watch_id(id);
  if (!id.empty() && !from) {
    const ApiError error = bad_request("this is not an id of ours", "Last-Event-ID");
    return refuse(*exchange, routed, error, received);
  }
  count(200);
  if (request.method == "HEAD")
    return exchange->respond({.content_type = "text/event-stream; charset=utf-8"});
  cluster_.stream_events(exchange, from);
}

ServerResponse Front::answer(const Routed& routed, const ServerRequest& request) {
  switch (routed.route) {
    case Route::models:
      return models("");
    case Route::model:
      return models(routed.rest);
    case Route::tokenize:
      return tokenize(request);
    case Route::detokenize:
      return detokenize(request);
    case Route::live:
      return {.content_type = "text/plain; charset=utf-8"};
    case Route::ready:
      return ready();
    case Route::version:
      return {.body = "{\"version\":\"" + std::string(kVersion) + "\"}"};
    case Route::load:
      return {.body = "{\"server_load\":" + std::to_string(served_.dispatch().pending()) + "}"};
    case Route::metrics:
      served_.metrics().connections.Set(connections_());
      return {.content_type = kMetricsContentType, .body = metrics_.text()};
    case Route::page:
      return page(routed.rest, request);
    default:
      break;
  }
  ServerResponse response = error_response(routed.error);
  if (!routed.allow.empty()) response.headers.emplace_back("allow", routed.allow);
  return response;
}

ServerResponse Front::ready() const {
  const std::string why = served_.not_ready();
  if (why.empty()) return {.body = "{\"status\":\"ready\"}"};
  ServerResponse response{.status = 503,
                          .body = "{\"status\":\"not ready\",\"reason\":" + json_quoted(why) + "}"};
  response.headers.emplace_back("retry-after", "1");
  return response;
}

ServerResponse Front::page(const std::string& path, const ServerRequest& request) const {
  if (!served_.config().pages)
    return error_response(not_found("this gateway serves no pages", "unknown_url"));
  return pages_.answer(path, request.header("if-none-match"));
}

ServerResponse Front::models(const std::string& only) const {
  const std::string root = served_.model_name();
  std::vector<std::string> names;
  if (!root.empty()) names.push_back(root);
  names.insert(names.end(), served_.config().model_aliases.begin(),
               served_.config().model_aliases.end());
  std::string list;
  for (const std::string& name : names) {
    if (!only.empty() && name != only) continue;
    if (!list.empty()) list += ',';
    list += "{\"id\":" + json_quoted(name) +
            ",\"object\":\"model\",\"created\":" + std::to_string(served_.started()) +
            ",\"owned_by\":\"fathom\",\"root\":" + json_quoted(root) +
            ",\"parent\":null,\"max_model_len\":" + std::to_string(served_.context_max()) +
            ",\"pricing\":" + pricing_ + "}";
  }
  if (only.empty()) return {.body = "{\"object\":\"list\",\"data\":[" + list + "]}"};
  if (list.empty())
    return error_response(not_found("this model does not exist", "model_not_found", "model"));
  return {.body = list};
}

ServerResponse Front::tokenize(const ServerRequest& request) {
  auto parsed = parse_tokenize(request.body, served_.parse_limits());
  served_.metrics().unknown_fields.Increment(parsed.unknown_fields);
  if (parsed.error) return error_response(*parsed.error);
  if (const auto error = served_.check_model(parsed.request.model, false))
    return error_response(*error);
  std::vector<TokenId> tokens;
  const bool with_strings = parsed.request.return_strings;
  const int64_t now = served_.clock().unix_seconds();
  if (const auto error = encode_input(served_.model(), std::move(parsed.request), now, tokens))
    return error_response(*error);
  std::string body = "{\"count\":" + std::to_string(tokens.size()) +
                     ",\"max_model_len\":" + std::to_string(served_.context_max()) + ",\"tokens\":";
  append_json(body, tokens);
  body += ",\"token_strs\":";
  if (with_strings) {
    const char* comma = "[";
    for (const TokenId id : tokens) {
      body += comma;
      append_json(body, served_.model().tokenizer->decode(std::span(&id, 1), false));
      comma = ",";
    }
    body += tokens.empty() ? "[]" : "]";
  } else {
    body += "null";
  }
  return {.body = body + "}"};
}

ServerResponse Front::detokenize(const ServerRequest& request) {
  ParseLimits limits = served_.parse_limits();
  const Tokenizer* tokenizer = served_.model().tokenizer.get();
  if (limits.vocab == 0 && tokenizer != nullptr) limits.vocab = tokenizer->vocab_size();
  const auto parsed = parse_detokenize(request.body, limits);
  served_.metrics().unknown_fields.Increment(parsed.unknown_fields);
  if (parsed.error) return error_response(*parsed.error);
  if (const auto error = served_.check_model(parsed.request.model, false))
    return error_response(*error);
  if (tokenizer == nullptr)
    return error_response(
        bad_request("this model has no tokenizer files", "tokens", "unsupported_value"));
  return {.body =
              "{\"prompt\":" + json_quoted(tokenizer->decode(parsed.request.tokens, false)) + "}"};
}

}  // namespace fathom
