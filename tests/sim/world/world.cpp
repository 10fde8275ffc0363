#include "tests/sim/world/world.h"

#include <algorithm>
#include <map>
#include <ostream>

#include "tests/sim/world/violation.h"

namespace fathom::sim {
namespace {

constexpr uint64_t kEventsMax =
    3'000'000;  // far above any scenario: more means that nothing progresses

}  // namespace

World::World(const Scenario& scenario, std::ostream* log)
    : scenario_(scenario), log_(log), dice_(scenario.seed, 2), clients_(scenario) {
  batcher_ = std::make_unique<Batcher>(scenario.batcher);
  for (size_t i = 0; i < scenario.workers.size(); ++i) {
    nodes_.push_back(std::make_unique<Node>(scenario.workers[i], scenario.worker_step_budget));
    nodes_.back()->index = i;
  }
  for (size_t i = 0; i < scenario.gateways; ++i) gateways_.push_back({++connections_});
}

World::~World() = default;

void World::say(const std::string& text) {
  if (log_) *log_ << now_.ns / 1000 << "us  " << text << "\n";
}

void World::at(Instant when, std::function<void()> what) {
  heap_.push({std::max(when, now_), ++order_, std::move(what)});
}

Outcome World::run() {
  try {
    for (auto& node : nodes_) {
      node->alive = true;
      node->instance = ++instances_;
      at(Instant{} + Duration::us(dice_.between(0, 20'000)),
         [this, n = node.get()] { connect(*n); });
    }
    start_clients();
    for (const PlannedFault& fault : scenario_.faults) {
      at(fault.at, [this, &fault] { strike(fault); });
    }
    while (!heap_.empty()) {
      require(++outcome_.events < kEventsMax, "nothing progresses any more");
      const Event event = heap_.top();
      heap_.pop();
      now_ = event.when;
      event.what();
      batcher_->check_integrity();
    }
    check_end();
  } catch (const Violation& violation) {
    outcome_.violation = std::string(violation.what()) + " at " + std::to_string(now_.ns / 1000) +
                         "us of seed " + std::to_string(scenario_.seed);
  }
  return outcome_;
}

void World::start_clients() {
  for (auto& [id, entry] : clients_.all()) {
    Clients::Client* client = &entry;
    at(client->plan->at, [this, client] { submit(*client); });
    if (client->plan->cancel_at == kNever) continue;
    at(client->plan->cancel_at, [this, client] {
      if (!client->submitted || client->gone) return;
      client->cancelled = true;
      batcher_->cancel(gateways_[client->plan->gateway], client->plan->submit.id);
      tick_soon();
    });
  }
}

void World::submit(Clients::Client& client) {
  const GatewayId gateway = gateways_[client.plan->gateway];
  if (gateway.value == 0) return;
  const Submit& submit = client.plan->submit;
  client.submitted = true;
  if (submit.time_left.ns != INT64_MAX) client.deadline = now_ + submit.time_left;
  say("submit " + std::to_string(submit.id.value) + " prompt " +
      std::to_string(submit.prompt_tokens) + " max " + std::to_string(submit.sampling.max_tokens));
  batcher_->submit(gateway, submit, now_);
  tick_soon();
  if (!client.plan->twice) return;
  tick();
  if (client.over) return;  // refused at once
  client.again = true;
  batcher_->submit(gateway, submit, now_);
  tick();
}

// Several calls may come before one tick, as in a router under load.
void World::tick_soon() {
  if (std::exchange(tick_planned_, true)) return;
  at(now_ + Duration::us(dice_.chance(0.5) ? 0 : dice_.between(0, 500)), [this] { tick(); });
}

void World::tick() {
  tick_planned_ = false;
  Decisions decisions = batcher_->tick(now_);
  look_at(decisions);
  for (const StalledWorker& stalled : decisions.stalled) give_up(stalled);
  for (auto& [worker, edits] : decisions.edits) send_edits(worker, std::move(edits));
  for (auto& [gateway, event] : decisions.events) {
    require(std::find(gateways_.begin(), gateways_.end(), gateway) != gateways_.end(),
            "an event for a lost gateway");
    clients_.on_event(event, now_);
  }
  if (decisions.wake < wake_planned_ || wake_planned_ <= now_) {
    wake_planned_ = decisions.wake;
    if (wake_planned_ != kNever) at(wake_planned_, [this] { tick_soon(); });
  }
  const BatcherStats stats = batcher_->stats();
  require(stats.blocks_reserved <= stats.blocks_capacity, "more promised than there is");
  require(stats.blocks_of_finished == 0, "a finished request holds blocks");
  look_on(stats);
}

// What those who watch are told adds up to the account.
void World::look_on(const BatcherStats& stats) const {
  int64_t reserved = 0;
  for (const WorkerLoad& load : batcher_->loads()) {
    reserved += load.blocks_reserved;
    require(load.sequences <= load.rows_max && load.uncomputed >= 0, "a load beyond its bounds");
  }
  require(reserved == stats.blocks_reserved, "the workers' blocks are not the router's");
  require(stats.prefilling >= 0 && stats.decoding >= 0 &&
              stats.prefilling + stats.decoding <= stats.running,
          "more are on their way than run");
}

// The same of all that happened since this router began.
void World::check_told(const BatcherStats& stats) {
  std::map<Incident::Kind, uint64_t> incidents;
  for (const Incident& incident : batcher_->take_incidents()) ++incidents[incident.kind];
  require(incidents[Incident::Kind::moved] == stats.moves, "moves were not told");
  require(incidents[Incident::Kind::recovered] == stats.recoveries, "recoveries were not told");
  require(incidents[Incident::Kind::gave_way] == stats.preemptions, "preemptions were not told");
  require(incidents[Incident::Kind::transfer_failed] == stats.transfer_failures,
          "failed transfers were not told");
  const BatcherLatencies& latencies = batcher_->latencies();
  require(latencies.queue.count() == stats.admitted, "not one queue time for each admission");
  require(latencies.request.count() == batcher_->take_traces().size() &&
              latencies.request.count() == stats.arrived,
          "not one request time for each request");
  require(latencies.first_token.count() <= stats.admitted, "more first tokens than requests");
}

// A sequence decodes in one home only.
void World::look_at(const Decisions& decisions) {
  const auto claim_home = [&](SeqId seq, WorkerId worker) {
    const auto [it, first] = homes_.emplace(seq, worker);
    require(first || it->second == worker, "a sequence with two homes", seq.value);
  };
  for (const auto& [worker, edits] : decisions.edits) {
    for (const Edit& edit : edits) {
      if (const auto* prefill = std::get_if<Prefill>(&edit)) {
        say("prefill " + std::to_string(prefill->seq.value & 0xfffffffffffff) + " on " +
            std::to_string(worker.value) + " tokens " + std::to_string(prefill->tokens.size()) +
            " blocks " + std::to_string(prefill->blocks) + (prefill->handoff ? " handoff" : ""));
        if (!prefill->handoff) claim_home(prefill->seq, worker);
      } else if (const auto* receive = std::get_if<Receive>(&edit)) {
        claim_home(receive->seq, worker);
      } else if (const auto* renew = std::get_if<Renew>(&edit)) {
        claim_home(renew->seq, worker);
        require(renew->lease > 0, "an empty renewal");
      } else if (const auto* drop = std::get_if<Drop>(&edit)) {
        say("drop " + std::to_string(drop->seq.value & 0xfffffffffffff) + " on " +
            std::to_string(worker.value));
      }
    }
  }
}

// Everything ended, every block came back.
void World::check_end() {
  require(clients_.unfinished() == 0, "requests never ended", clients_.unfinished());
  require(batcher_->idle(), "the router still holds requests");
  const BatcherStats stats = batcher_->stats();
  require(stats.blocks_reserved == 0 && stats.leases == 0 && stats.moving == 0,
          "something is still promised");
  check_told(stats);
  for (const auto& node : nodes_) {
    if (node->stalled) continue;  // for ever: what it holds is no use to anybody
    require(node->worker.held() == 0 && node->worker.sequences() == 0,
            "a worker still holds blocks", node->index);
  }
  outcome_.preemptions += stats.preemptions;
  outcome_.recoveries += stats.recoveries;
  outcome_.transfer_failures += stats.transfer_failures;
  outcome_.stalled += stats.stalled;
  for (const auto& [id, client] : clients_.all()) {
    outcome_.tokens += client.received.size();
    if (!client.submitted || client.gone) continue;
    (client.finish == Finish::failed ? outcome_.failed : outcome_.finished) += 1;
    require(client.again == false, "a duplicate was accepted", id);
  }
}

Outcome run_seed(uint64_t seed, std::ostream* log) {
  const Scenario scenario = scenario_of(seed);
  if (log) *log << scenario.text();
  World world(scenario, log);
  return world.run();
}

}  // namespace fathom::sim
