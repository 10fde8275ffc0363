// How do HTTP/1.1 requests come in and answers go out? The server reads one whole request at a time
// from each connection, within limits of size and time, hands it to the handler on the connection's
// own loop, and notices a client that leaves while the handler works. Every request gets exactly
// one answer, errors included.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "net/http_threads.h"

namespace fathom {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct ServerRequest {
  std::string
      id;  // the client's x-request-id if it is a plain word, else ours; echoed on the answer
  std::string method;
  std::string path;     // percent-decoded, without query
  std::string query;    // raw, without '?'
  HttpHeaders headers;  // names in lower case
  std::string body;
  std::string_view header(std::string_view lower_case_name) const;  // empty when absent
};

struct ServerResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers;  // beside content-type, content-length, connection and x-request-id
  std::string body;
};

enum class HttpClosed : uint8_t {
  by_client,  // end of file or reset: the client left (half-closing counts as leaving)
  too_slow,   // it did not read what was written, by time or by amount
  by_server,  // the server stops
};

// One request and its answer. Every call is made on the loop thread().
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const ServerRequest& request() const = 0;
  virtual int thread() const = 0;
  // The whole answer.
  virtual void respond(ServerResponse response) = 0;
  // Or in pieces: the head with the first bytes, then write()s, then finish(). write() never
  // blocks; what the socket does not take is buffered up to a bound, beyond which the client is cut
  // off (too_slow). False when nobody listens any more.
  virtual void start_stream(ServerResponse head) = 0;
  virtual bool write(std::string_view bytes) = 0;
  virtual void finish(std::string_view last = {}) = 0;  // the last bytes, of any length
  // Called at most once, if the connection ends before the answer is complete. The handler may
  // still complete the answer from inside the call (a half-closed client reads it); afterwards the
  // exchange is over.
  virtual void on_closed(std::function<void(HttpClosed)> call) = 0;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  // Called on the exchange's loop; must not block. The answer may be given later, on the same loop.
  virtual void handle(std::shared_ptr<HttpExchange> exchange) = 0;
  // The answer to what never became a request: 400 malformed, 408 too slow, 413 and 431 too large,
  // 503 too many connections. From any loop.
  virtual ServerResponse refuse(int status, std::string_view message) = 0;
};

struct HttpLimits {
  int64_t header_bytes_max = 64 << 10;
  int64_t body_bytes_max = 32 << 20;
  int connections_max = 10000;
  double header_seconds_max = 10;       // from the first byte of a request to the end of its header
  double body_seconds_max = 60;         // from the end of the header to the end of the body
  double idle_seconds_max = 75;         // between requests
  double write_seconds_max = 30;        // without the client taking a byte of what waits for it
  int64_t stream_buffer_max = 1 << 20;  // bytes of a stream that wait for a slow client
  template <class V>
  void fields(V& v) {
    v("header_bytes_max", header_bytes_max, "largest request header");
    v("body_bytes_max", body_bytes_max, "largest request body; beyond it 413");
    v("connections_max", connections_max, "open client connections; beyond it 503");
    v("header_seconds_max", header_seconds_max, "patience for a request header; then 408");
    v("body_seconds_max", body_seconds_max, "patience for a request body; then 408");
    v("idle_seconds_max", idle_seconds_max, "how long a kept-alive connection may be silent");
    v("write_seconds_max", write_seconds_max, "how long a client may take no byte of its answer");
    v("stream_buffer_max", stream_buffer_max, "bytes buffered for a client that reads slowly");
  }
};

struct HttpServerConfig {
  std::string listen = "127.0.0.1:0";  // host:port; port 0 takes a free one
  HttpLimits limits;
  uint64_t id_seed = 0;  // request ids are drawn from it; processes should differ
};

class HttpServer {
 public:
  virtual ~HttpServer() = default;          // stops
  virtual std::string address() const = 0;  // host:port as bound
  virtual int connections() const = 0;
  // From now on every answer closes its connection, and connections silent after one are closed.
  virtual void drain() = 0;
  // Closes everything; handlers hear by_server first. Returns once no call into the handler can
  // come any more.
  virtual void stop() = 0;
};

// `threads` were made by make_http_threads; they and `handler` outlive the server. An address that
// can not be bound is UNAVAILABLE naming it, one that can not be read INVALID_ARGUMENT.
Result<std::unique_ptr<HttpServer>> start_http_server(const HttpServerConfig& config,
                                                      HttpThreads& threads, HttpHandler& handler);

}  // namespace fathom
