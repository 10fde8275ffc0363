// What can be set about a gateway? Everything has a default that suits one machine; a cluster names
// at least the router and the checkpoint directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/http_server.h"

namespace fathom {

struct GatewayConfig {
  std::string listen = "127.0.0.1:8000";
  std::string grpc_listen;  // empty: no gRPC service
  std::string router = "127.0.0.1:7000";
  std::string name = "gateway";
  std::string
      checkpoint;     // directory with tokenizer.json; empty or without one: token-id prompts only
  std::string model;  // name clients use; empty: the name the router's workers give
  std::vector<std::string> model_aliases;
  std::vector<int32_t>
      eos_token_ids;  // empty: from the checkpoint's generation_config.json or config.json
  int32_t threads = 1;
  bool pages = true;
  std::string keys_file;  // empty: everybody may ask

  // Decimals with up to 6 places, per million tokens; 0: not told.
  std::string price_input_per_million = "0";
  std::string price_cached_input_per_million = "0";
  std::string price_output_per_million = "0";
  std::string currency = "USD";

  int32_t max_tokens_default = 4096;  // chat; the completions surface defaults to 16
  int32_t max_tokens_max = 131072;
  int32_t n_max = 8;
  int32_t prompts_max = 512;   // prompts in one completions request
  int32_t pending_max = 4096;  // choices in flight; beyond it 429
  double temperature_default = 1.0;
  double top_p_default = 1.0;

  double stream_commit_seconds = 15;  // then the 200 is sent although no token came
  double whole_commit_seconds = 25;
  double keep_alive_seconds = 10;       // between signs of life after that
  double start_seconds_max = 600;       // until the first token
  double request_seconds_max = 3600;    // until the last
  double router_patience_seconds = 60;  // how long a running request waits for a lost router
  double retry_after_seconds = 1;  // what a refused client is told, where the router does not say
  double drain_seconds_max = 600;
  HttpLimits http;

  template <class V>
  void fields(V& v) {
    v("listen", listen, "host:port of the HTTP API; port 0 takes a free one");
    v("grpc_listen", grpc_listen, "host:port of the gRPC API; empty for none");
    v("router", router, "host:port of the router");
    v("name", name, "how the router names this gateway in its logs");
    v("checkpoint", checkpoint, "directory with tokenizer.json and tokenizer_config.json");
    v("model", model, "model name clients use; empty for the one the workers report");
    v("model_aliases", model_aliases, "other names for the same model");
    v("eos_token_ids", eos_token_ids, "tokens that end an answer; empty for the checkpoint's");
    v("threads", threads, "event loops that serve clients");
    v("pages", pages, "serve the chat page at / and the cluster page at /cluster");
    v("keys_file", keys_file, "API keys, one JSON object a line; empty: everybody may ask");
    v("price_input_per_million", price_input_per_million,
      "told to clients: a million prompt tokens; 0 tells no price");
    v("price_cached_input_per_million", price_cached_input_per_million,
      "of those, one that a cache held; 0: costs like the others");
    v("price_output_per_million", price_output_per_million, "a million generated tokens");
    v("currency", currency, "of the prices, three letters");
    v("max_tokens_default", max_tokens_default, "answer length of a chat that names none");
    v("max_tokens_max", max_tokens_max, "largest answer length a client may ask");
    v("n_max", n_max, "largest number of choices per prompt");
    v("prompts_max", prompts_max, "prompts in one completions request");
    v("pending_max", pending_max, "choices in flight; beyond it 429");
    v("temperature_default", temperature_default, "where a request names none");
    v("top_p_default", top_p_default, "where a request names none");
    v("stream_commit_seconds", stream_commit_seconds,
      "wait for a first token before headers, stream");
    v("whole_commit_seconds", whole_commit_seconds, "the same for answers in one piece");
    v("keep_alive_seconds", keep_alive_seconds, "between signs of life while nothing else is sent");
    v("start_seconds_max", start_seconds_max, "longest wait for a first token");
    v("request_seconds_max", request_seconds_max, "longest life of a request");
    v("router_patience_seconds", router_patience_seconds, "longest wait for a lost router");
    v("retry_after_seconds", retry_after_seconds, "told to refused clients");
    v("drain_seconds_max", drain_seconds_max, "longest wait for running requests at the end");
    v("http", http, "limits of client connections");
  }
};

}  // namespace fathom
