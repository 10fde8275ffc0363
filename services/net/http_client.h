// How does a program of ours speak to a gateway? An event loop on one thread: requests are sent,
// pieces of the answer are handed over as they arrive, connections are kept and used again. Every
// request ends with exactly one `done`. Used by `fathom up`, by the load generator and by tests; a
// service never waits for HTTP.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace fathom {

struct HttpAddress {
  std::string host;
  std::string port;
  std::string prefix;  // path of the URL, without a trailing slash
};

// "http://host[:port][/prefix]"; INVALID_ARGUMENT for anything else. There is no TLS here.
Result<HttpAddress> parse_http_url(std::string_view url);

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";  // after the prefix
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  Duration patience = Duration::seconds(600);  // for the whole exchange
};

struct HttpHead {
  int status = 0;
  std::optional<Duration> retry_after;  // of whole seconds; a date is not read
};

// Called on the thread of run(). The views live during the call.
struct HttpHandlers {
  std::function<void(const HttpHead&)> head;
  std::function<void(std::string_view piece)> body;
  std::function<void(Status)> done;
};

class HttpClient {
 public:
  virtual ~HttpClient() = default;
  virtual void send(HttpRequest request, HttpHandlers handlers) = 0;
  virtual void after(Duration delay, std::function<void()> task) = 0;
  // Works until nothing is left to do, or stop() is called from a handler.
  virtual void run() = 0;
  virtual void stop() = 0;
};

std::unique_ptr<HttpClient> make_http_client(const HttpAddress& address);

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// One request, waited for.
Result<HttpAnswer> http_call(const HttpAddress& address, HttpRequest request);

}  // namespace fathom
