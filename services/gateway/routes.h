// Which path and method lead where? One table; what it does not hold is refused in words.
#pragma once

#include <string>
#include <string_view>

#include "gateway/api_error.h"

namespace fathom {

enum class Route : uint8_t {
  chat,
  completions,
  models,
  model,  // /v1/models/{id}; the id is `rest`
  tokenize,
  detokenize,
  live,
  ready,
  version,
  load,
  metrics,
  cluster_state,
  cluster_events,
  page,  // of the browser; `rest` is its path below pages/
  refused,
};

struct Routed {
  Route route = Route::refused;
  std::string name;  // for metrics: a small set, whatever clients ask
  std::string rest;
  ApiError error;     // for refused
  std::string allow;  // for 405
};

// Whether a key must be shown where the gateway asks for keys: everywhere but for probes, metrics
// and the files of the pages.
bool needs_key(Route route);

Routed find_route(std::string_view method, std::string_view path, std::string_view query);

}  // namespace fathom
