// How do edits and reports travel? In order within a stream and after some time; a broken stream
// loses them, and the worker on it forgets everything it ran, as a new one must start empty.
#include <algorithm>

#include "tests/sim/world/chain.h"
#include "tests/sim/world/violation.h"
#include "tests/sim/world/world.h"

namespace fathom::sim {

Welcome World::welcome_of(const Node& node) const {
  return {.instance = node.instance,
          .role = node.spec.role,
          .model = "chain",
          .model_digest = "chain",
          .kv = {.kind = "fake", .layers = 1, .width = 1, .block_tokens = node.spec.block_tokens},
          .blocks = node.spec.blocks,
          .rows_max = node.spec.rows_max,
          .context_max = node.spec.context_max,
          .vocab = kVocab,
          .fetch_address = address(node)};
}

World::Node* World::node_of(WorkerId stream) {
  for (auto& node : nodes_) {
    if (node->alive && node->stream == stream) return node.get();
  }
  return nullptr;
}

void World::connect(Node& node) {
  if (!node.alive || node.stream.value != 0) return;
  // It takes no router while its step does not return; the router tries again.
  if (node.stalled) return;
  reset(node);
  node.stream = {++streams_};
  node.last_edit = node.last_report = now_;
  const WorkerId stream = node.stream;
  const Instant there = now_ + latency();
  node.last_report = there;
  at(there, [this, stream] {
    Node* joined = node_of(stream);
    if (!joined) return;
    const Status status = batcher_->worker_up(stream, welcome_of(*joined));
    require(status.ok(), "a worker was refused");
    say("worker " + std::to_string(stream.value) + " up");
    tick_soon();
  });
}

void World::reset(Node& node) {
  node.worker.forget_everything();
  node.fetches.clear();
  node.pending.clear();
  node.stepping = node.step_returns = false;
  ++node.life;
}

// The router closes the stream. The worker notices at its next boundary, so one that stands still
// keeps what it runs until then.
void World::give_up(const StalledWorker& stalled) {
  say("worker " + std::to_string(stalled.worker.value) + " is given up");
  Node* node = node_of(stalled.worker);
  if (!node) return;
  require(stalled.silent > scenario_.batcher.stall, "given up before its time");
  node->stream = WorkerId{};
  if (node->stalled) return;
  reset(*node);
  at(now_ + latency(), [this, node] { connect(*node); });
}

void World::disconnect(Node& node, bool late_news_arrives) {
  if (node.stream.value == 0) return;
  const WorkerId stream = std::exchange(node.stream, WorkerId{});
  reset(node);
  if (!late_news_arrives) deaf_.insert(stream.value);
  const Instant noticed = std::max(node.last_report, now_) + latency();
  at(noticed, [this, stream] {
    say("worker " + std::to_string(stream.value) + " down");
    batcher_->worker_down(stream);
    tick_soon();
  });
}

void World::send_edits(WorkerId to, Edits edits) {
  Node* node = node_of(to);
  if (!node) return;
  node->last_edit = std::max(node->last_edit, now_) + latency();
  at(node->last_edit, [this, to, sent = std::move(edits)] {
    Node* receiver = node_of(to);
    if (!receiver) return;
    receiver->pending.insert(receiver->pending.end(), sent.begin(), sent.end());
    kick(*receiver);
  });
}

void World::send_report(Node& node, Report report) {
  if (node.stream.value == 0) return;
  report.draining = node.draining;
  node.last_report = std::max(node.last_report, now_) + latency();
  at(node.last_report, [this, stream = node.stream, sent = std::move(report)] {
    if (deaf_.contains(stream.value)) return;
    batcher_->report(stream, sent, now_);
    tick_soon();
  });
}

// At a step boundary: edits first, then the next step if there is work.
void World::kick(Node& node) {
  if (node.stepping || node.stalled || !node.alive || node.stream.value == 0) return;
  node.worker.apply(std::exchange(node.pending, {}));
  if (auto failed = node.worker.take_complaints(); !failed.empty()) {
    send_report(node, {.failed = std::move(failed), .free_blocks = node.worker.free_blocks()});
  }
  start_transfers(node);
  const int32_t tokens = node.worker.begin_step();
  if (tokens == 0) return leave_when_drained(node);
  node.stepping = true;
  int64_t us = node.spec.step_us + tokens * node.spec.token_us;
  if (now_ < node.slow_until) us *= 20;
  at(now_ + Duration::us(us), [this, n = &node, life = node.life] {
    if (n->life == life) finish_step(*n);
  });
}

void World::finish_step(Node& node) {
  if (node.stalled) {
    node.step_returns = true;
    return;
  }
  node.stepping = false;
  send_report(node, node.worker.end_step(dice_, scenario_.worker_faults));
  kick(node);
}

}  // namespace fathom::sim
