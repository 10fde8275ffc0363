#include "gateway/routes.h"

#include <array>

namespace fathom {
namespace {

struct Entry {
  std::string_view path;
  std::string_view method;
  Route route;
  std::string_view name;
  std::string_view rest = {};
};

constexpr std::array kTable = {
    Entry{"/v1/chat/completions", "POST", Route::chat, "chat"},
    Entry{"/chat/completions", "POST", Route::chat, "chat"},
    Entry{"/beta/chat/completions", "POST", Route::chat, "chat"},
    Entry{"/beta/v1/chat/completions", "POST", Route::chat, "chat"},
    Entry{"/v1/completions", "POST", Route::completions, "completions"},
    Entry{"/completions", "POST", Route::completions, "completions"},
    Entry{"/beta/completions", "POST", Route::completions, "completions"},
    Entry{"/beta/v1/completions", "POST", Route::completions, "completions"},
    Entry{"/v1/models", "GET", Route::models, "models"},
    Entry{"/models", "GET", Route::models, "models"},
    Entry{"/tokenize", "POST", Route::tokenize, "tokenize"},
    Entry{"/detokenize", "POST", Route::detokenize, "detokenize"},
    Entry{"/health", "GET", Route::live, "health"},
    Entry{"/health/live", "GET", Route::live, "health"},
    Entry{"/ping", "GET", Route::live, "health"},
    Entry{"/health/ready", "GET", Route::ready, "health"},
    Entry{"/version", "GET", Route::version, "version"},
    Entry{"/load", "GET", Route::load, "load"},
    Entry{"/metrics", "GET", Route::metrics, "metrics"},
    Entry{"/cluster/state", "GET", Route::cluster_state, "cluster"},
    Entry{"/cluster/events", "GET", Route::cluster_events, "cluster"},
    Entry{"/", "GET", Route::page, "page", "chat/index.html"},
    Entry{"/cluster", "GET", Route::page, "page", "cluster/index.html"},
};

constexpr std::array<std::string_view, 12> kNotServed = {
    "/v1/embeddings", "/v1/moderations", "/v1/audio/",    "/v1/images/",
    "/v1/files",      "/v1/batches",     "/v1/responses", "/responses",
    "/v1/messages",   "/anthropic/",     "/openai/",      "/user/balance"};

constexpr std::string_view kServed =
    "this service answers /v1/chat/completions, /v1/completions, /v1/models, /tokenize and "
    "/detokenize";

Routed refused(int status, std::string message, std::string code) {
  Routed out{.name = "unknown", .error = not_found(std::move(message), std::move(code))};
  out.error.status = status;
  return out;
}

bool is_method(std::string_view asked, std::string_view expected) {
  return asked == expected || (asked == "HEAD" && expected == "GET");
}

Routed wrong_method(std::string_view allow) {
  Routed out = refused(405, "this path is asked with " + std::string(allow), "method_not_allowed");
  out.allow = allow;
  return out;
}

bool has_field(std::string_view query, std::string_view name) {
  for (size_t at = query.find(name); at != std::string_view::npos; at = query.find(name, at + 1))
    if (at == 0 || query[at - 1] == '&') return true;
  return false;
}

}  // namespace

bool needs_key(Route route) {
  switch (route) {
    case Route::live:
    case Route::ready:
    case Route::version:
    case Route::metrics:
    case Route::page:
    case Route::refused:
      return false;
    default:
      return true;
  }
}

Routed find_route(std::string_view method, std::string_view path, std::string_view query) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  for (const Entry& entry : kTable) {
    if (entry.path != path) continue;
    if (path == "/chat/completions" && has_field(query, "api-version="))
      return refused(404, "the Azure dialect (api-version) is not served; use /v1/chat/completions",
                     "unsupported_endpoint");
    if (!is_method(method, entry.method)) return wrong_method(entry.method);
    return {.route = entry.route, .name = std::string(entry.name), .rest = std::string(entry.rest)};
  }
  for (const std::string_view prefix : {"/v1/models/", "/models/"}) {
    if (!path.starts_with(prefix) || path.size() == prefix.size()) continue;
    if (path == "/models/chat/completions" || path == "/models/info") continue;
    if (!is_method(method, "GET")) return wrong_method("GET");
    return {
        .route = Route::model, .name = "models", .rest = std::string(path.substr(prefix.size()))};
  }
  constexpr std::string_view kAssets = "/assets/";
  if (path.starts_with(kAssets)) {
    if (!is_method(method, "GET")) return wrong_method("GET");
    return {.route = Route::page, .name = "page", .rest = std::string(path.substr(kAssets.size()))};
  }
  for (const std::string_view prefix : kNotServed)
    if (path.starts_with(prefix)) return refused(404, std::string(kServed), "unsupported_endpoint");
  return refused(404, "unknown path; " + std::string(kServed), "unknown_url");
}

}  // namespace fathom
