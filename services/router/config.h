// What can be set about a router? Where it listens, which workers it drives, and how much it lets
// wait. All but the workers has a default that suits one machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fathom {

struct RouterConfig {
  std::string listen = "127.0.0.1:7000";
  std::string operations_listen = "127.0.0.1:7001";
  std::vector<std::string> workers;
  int32_t queue_max = 1024;
  int32_t queue_tokens_max = 8'000'000;
  int32_t tenant_queue_max = 1024;
  int32_t lease_tokens = 64;
  int32_t step_token_budget = 512;
  int32_t recoveries_max = 16;
  double stall_seconds = 60;
  double retry_after_seconds = 1;
  double state_interval_seconds = 0.1;
  double watch_interval_seconds = 1;
  double drain_seconds_max = 600;

  template <class V>
  void fields(V& v) {
    v("listen", listen, "host:port for the gateways; port 0 takes a free one");
    v("operations_listen", operations_listen, "host:port of /metrics and /health; empty for none");
    v("workers", workers, "host:port of each worker; every address behind a name is one worker");
    v("queue_max", queue_max, "requests that may wait; one more is refused");
    v("queue_tokens_max", queue_tokens_max, "tokens that may wait in all");
    v("tenant_queue_max", tenant_queue_max, "requests of one tenant that may wait");
    v("lease_tokens", lease_tokens, "tokens a sequence may emit before the router is asked again");
    v("step_token_budget", step_token_budget, "most tokens of one worker step");
    v("recoveries_max", recoveries_max, "times a request is placed again before it fails");
    v("stall_seconds", stall_seconds,
      "a worker that owes a step and reports nothing for this and ten times its longest step is "
      "given up; 0: never");
    v("retry_after_seconds", retry_after_seconds, "told to refused clients");
    v("state_interval_seconds", state_interval_seconds,
      "least time between two reports of load to the gateways");
    v("watch_interval_seconds", watch_interval_seconds,
      "time between two views for whoever watches the cluster");
    v("drain_seconds_max", drain_seconds_max, "longest wait for running requests at the end");
  }
};

}  // namespace fathom
