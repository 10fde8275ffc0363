#include "net/http_operations.h"

#include "base/version.h"
#include "net/http_server.h"

namespace fathom {
namespace {

ServerResponse plain(int status, std::string text) {
  return {.status = status, .content_type = "text/plain; charset=utf-8", .body = std::move(text)};
}

class Server final : public Operations, private HttpHandler {
 public:
  Server(const Metrics& metrics, std::function<std::string()> not_ready)
      : metrics_(metrics), not_ready_(std::move(not_ready)), threads_(make_http_threads(1)) {}
  ~Server() override {
    if (server_) server_->stop();
    threads_->stop();
  }

  Status listen(const std::string& address) {
    HttpServerConfig config{.listen = address};
    config.limits.connections_max = 64;
    config.limits.body_bytes_max = 64 << 10;
    FATHOM_TRY(server_, start_http_server(config, *threads_, *this));
    return {};
  }
  std::string address() const override { return server_->address(); }

 private:
  void handle(std::shared_ptr<HttpExchange> exchange) override {
    exchange->respond(answer(exchange->request()));
  }
  ServerResponse refuse(int status, std::string_view message) override {
    return plain(status, std::string(message) + "\n");
  }
  ServerResponse answer(const ServerRequest& request) const {
    if (request.method != "GET" && request.method != "HEAD")
      return plain(405, "only GET is answered here\n");
    if (request.path == "/metrics")
      return {.content_type = kMetricsContentType, .body = metrics_.text()};
    if (request.path == "/health/live") return plain(200, "");
    if (request.path == "/health/ready") {
      const std::string why = not_ready_();
      return why.empty() ? plain(200, "") : plain(503, why + "\n");
    }
    if (request.path == "/version") {
      return {.body = "{\"version\":\"" + std::string(kVersion) + "\"}"};
    }
    return plain(404,
                 "only /metrics, /health/live, /health/ready and /version are answered here\n");
  }

  const Metrics& metrics_;
  std::function<std::string()> not_ready_;
  std::unique_ptr<HttpThreads> threads_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace

Result<std::unique_ptr<Operations>> serve_operations(const std::string& listen,
                                                     const Metrics& metrics,
                                                     std::function<std::string()> not_ready) {
  auto server = std::make_unique<Server>(metrics, std::move(not_ready));
  if (const Status listening = server->listen(listen); !listening.ok()) return listening.error();
  return std::unique_ptr<Operations>(std::move(server));
}

}  // namespace fathom
