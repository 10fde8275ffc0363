// What does the HTTP side of a gateway do with a request? It finds the route, parses, and either
// answers at once or starts a generation whose tokens are rendered onto the exchange.
#pragma once

#include <functional>
#include <memory>

#include "gateway/cluster_watch.h"
#include "gateway/pages.h"
#include "gateway/routes.h"
#include "gateway/served.h"
#include "net/http_server.h"
#include "process/metrics.h"

namespace fathom {

class Front final : public HttpHandler {
 public:
  // `connections` is asked when metrics are.
  Front(Served& served, ClusterWatch& cluster, const Metrics& metrics,
        std::function<int()> connections)
      : served_(served),
        cluster_(cluster),
        metrics_(metrics),
        connections_(std::move(connections)),
        pages_(embedded_pages()) {}
  void handle(std::shared_ptr<HttpExchange> exchange) override;
  ServerResponse refuse(int status, std::string_view message) override;

 private:
  void generate(const std::shared_ptr<HttpExchange>& exchange, const Routed& routed,
                const Asker& asker, Instant received);
  void watch(const std::shared_ptr<HttpExchange>& exchange, const Routed& routed, Instant received);
  void refuse(HttpExchange& exchange, const Routed& routed, const ApiError& error,
              Instant received);
  ServerResponse answer(const Routed& routed, const ServerRequest& request);
  ServerResponse models(const std::string& only) const;
  ServerResponse tokenize(const ServerRequest& request);
  ServerResponse detokenize(const ServerRequest& request);
  ServerResponse ready() const;
  ServerResponse page(const std::string& path, const ServerRequest& request) const;

  Served& served_;
  ClusterWatch& cluster_;
  const Metrics& metrics_;
  std::function<int()> connections_;
  const Pages pages_;
};

}  // namespace fathom
