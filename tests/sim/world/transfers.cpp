// How does KV get from one worker to another? The home asks the peer again and again and copies
// what is ready. A peer that is gone, restarted or has forgotten the sequence is UNAVAILABLE; one
// that has not heard of it yet is asked for a while, because the two edits travel on two streams.
#include <algorithm>

#include "tests/sim/world/world.h"

namespace fathom::sim {
namespace {

constexpr Duration kPeerMayNotKnowYet = Duration::ms(50);

}  // namespace

void World::start_transfers(Node& node) {
  for (const SeqId seq : node.worker.take_new_receives()) {
    at(now_ + latency(), [this, n = &node, life = node.life, seq, started = now_] {
      if (n->life == life) poll_transfer(*n, seq, started);
    });
  }
}

void World::poll_transfer(Node& node, SeqId seq, Instant started) {
  if (!node.worker.receiving(seq)) return;
  if (node.stalled) {  // nobody takes what arrives
    node.fetches.emplace_back(seq, started);
    return;
  }
  const Ticket ticket = node.worker.ticket(seq);
  const auto peer = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& other) {
    return address(*other) == ticket.address;
  });
  const bool there = (*peer)->alive && (*peer)->instance == ticket.instance;
  if (!there) return fail_transfer(node, seq, Code::unavailable);
  const auto ready = (*peer)->worker.ready(ticket.seq, ticket.key);
  if (!ready && now_ > started + kPeerMayNotKnowYet) {
    return fail_transfer(node, seq, Code::unavailable);
  }
  const int32_t wanted = node.worker.wanted(seq);
  if (ready && *ready >= wanted) {
    if (dice_.chance(scenario_.transfer_damage)) return fail_transfer(node, seq, Code::data_loss);
    node.worker.received(seq, (*peer)->worker.kv(ticket.seq), wanted);
    send_report(node, {.resident = {seq}, .free_blocks = node.worker.free_blocks()});
    return kick(node);
  }
  at(now_ + Duration::us(200) + latency(), [this, n = &node, life = node.life, seq, started] {
    if (n->life == life) poll_transfer(*n, seq, started);
  });
}

void World::fail_transfer(Node& node, SeqId seq, Code code) {
  say("transfer of " + std::to_string(seq.value & 0xfffffffffffff) + " failed");
  node.worker.fail(seq);
  send_report(
      node, {.failed = {{seq, {code, "transfer", ""}}}, .free_blocks = node.worker.free_blocks()});
  kick(node);
}

}  // namespace fathom::sim
