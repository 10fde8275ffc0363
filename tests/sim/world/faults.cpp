// What can go wrong? Processes die, streams break, machines slow down, workers and routers are
// asked to leave.
#include <algorithm>

#include "tests/sim/world/world.h"

namespace fathom::sim {

void World::strike(const PlannedFault& fault) {
  Node& node = *nodes_[fault.worker];
  const Instant over = fault.lasts == kForEver ? kNever : now_ + fault.lasts;
  switch (fault.fault) {
    case Fault::worker_dies:
      if (!node.alive) return;
      disconnect(node, fault.late_news_arrives);
      node.alive = false;
      node.draining = node.stalled = false;
      at(over, [this, n = &node] {
        if (std::exchange(n->alive, true)) return;
        n->instance = ++instances_;
        connect(*n);
      });
      return;
    case Fault::stream_breaks:
      disconnect(node, fault.late_news_arrives);
      at(over, [this, n = &node] { connect(*n); });
      return;
    case Fault::worker_slows:
      node.slow_until = over;
      return;
    case Fault::worker_drains:
      if (!node.alive || node.stalled || node.stream.value == 0) return;
      say("node " + std::to_string(node.index) + " drains");
      node.draining = true;
      send_report(node, {.free_blocks = node.worker.free_blocks()});
      return leave_when_drained(node);
    case Fault::router_restarts:
      return restart_router();
    case Fault::gateway_dies:
      return lose_gateway(fault.gateway);
    case Fault::router_drains:
      say("router drains");
      router_draining_ = true;
      batcher_->drain();
      return tick_soon();
    case Fault::worker_stalls:
      if (!node.alive || node.stalled) return;
      return stall(node, over);
  }
}

void World::stall(Node& node, Instant until) {
  say("node " + std::to_string(node.index) + " stalls");
  node.stalled = true;
  if (until == kNever) return;
  at(until, [this, n = &node, instance = node.instance] {
    if (!n->stalled || n->instance != instance) return;  // another process since
    say("node " + std::to_string(n->index) + " goes on");
    n->stalled = false;
    if (n->stream.value == 0) {
      reset(*n);  // it finds its stream closed
      return connect(*n);
    }
    for (const auto& [seq, started] : std::exchange(n->fetches, {}))
      poll_transfer(*n, seq, started);
    if (std::exchange(n->step_returns, false)) return finish_step(*n);
    kick(*n);
  });
}

// A drained worker that holds nothing leaves, and another process takes its place.
void World::leave_when_drained(Node& node) {
  if (!node.draining || node.stepping || node.worker.sequences() > 0) return;
  at(now_ + Duration::ms(20), [this, n = &node, life = node.life] {
    if (n->life != life || !n->draining || n->worker.sequences() > 0) return;
    disconnect(*n, true);
    n->alive = false;
    n->draining = n->stalled = false;
    at(now_ + Duration::ms(20), [this, n] {
      if (std::exchange(n->alive, true)) return;
      n->instance = ++instances_;
      connect(*n);
    });
  });
}

// A new router knows nothing: workers start empty on its streams, gateways submit what has not
// ended.
void World::restart_router() {
  say("router restarts");
  const BatcherStats stats = batcher_->stats();
  outcome_.preemptions += stats.preemptions;
  outcome_.recoveries += stats.recoveries;
  BatcherConfig config = scenario_.batcher;
  config.epoch += ++router_life_;
  batcher_ = std::make_unique<Batcher>(config);
  homes_.clear();  // ids are unique for one epoch
  router_draining_ = false;
  for (auto& node : nodes_) {
    if (node->stream.value != 0) deaf_.insert(node->stream.value);
    node->stream = WorkerId{};
    reset(*node);
    at(now_ + Duration::us(dice_.between(0, 20'000)), [this, n = node.get()] { connect(*n); });
  }
  for (GatewayId& gateway : gateways_) {
    if (gateway.value != 0) gateway = {++connections_};
  }
  for (auto& [id, client] : clients_.all()) {
    if (!client.submitted || client.over || client.gone) continue;
    if (client.received.empty()) client.prompt_logprobs.clear();
    batcher_->submit(gateways_[client.plan->gateway], clients_.resubmission(client, now_), now_);
    // The client's wish to leave was lost with the old router.
    if (client.cancelled) {
      batcher_->cancel(gateways_[client.plan->gateway], client.plan->submit.id);
    }
  }
  tick_soon();
}

void World::lose_gateway(size_t gateway) {
  if (gateways_[gateway].value == 0) return;
  say("gateway " + std::to_string(gateway) + " dies");
  batcher_->gateway_down(gateways_[gateway]);
  gateways_[gateway] = GatewayId{};
  for (auto& [id, client] : clients_.all()) {
    if (client.plan->gateway == gateway) client.gone = true;
  }
  tick_soon();
}

}  // namespace fathom::sim
