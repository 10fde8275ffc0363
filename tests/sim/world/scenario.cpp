#include "tests/sim/world/scenario.h"

#include <algorithm>
#include <sstream>

#include "tests/sim/world/chain.h"

namespace fathom::sim {
namespace {

constexpr Duration kFaultsUntil = Duration::ms(400);

std::vector<Role> roles_of(Dice& dice) {
  switch (dice.between(0, 5)) {
    case 0:
      return {Role::both};
    case 1:
      return {Role::both, Role::both, Role::both};
    case 2:
      return {Role::prefill, Role::decode};
    case 3:
      return {Role::prefill, Role::prefill, Role::decode, Role::decode};
    case 4:
      return {Role::prefill, Role::both, Role::decode};
    default:
      return {Role::prefill, Role::decode, Role::both, Role::both};
  }
}

bool crowded(uint64_t seed) { return seed >= kCrowdedSeeds && seed < kSpeculatingSeeds; }

void add_workers(Scenario& s, Dice& dice, int32_t block_tokens) {
  const bool alike = dice.chance(0.7);
  // Tight: a few sequences fill a worker, so they must give way to each other.
  const int32_t capacity_tokens = dice.pick({96, 160, 400, 4000});
  const int32_t context = dice.pick({64, 96, 200});
  const int32_t rows = dice.pick({2, 4, 16, 64});
  for (const Role role : roles_of(dice)) {
    WorkerSpec spec{.role = role,
                    .blocks = capacity_tokens / block_tokens,
                    .block_tokens = block_tokens,
                    .rows_max = rows,
                    .context_max = context,
                    .step_us = dice.between(100, 2000),
                    .token_us = dice.between(1, 100)};
    if (!alike) {
      spec.blocks = std::max<int32_t>(3, spec.blocks * dice.count(1, 4) / 2);
      spec.context_max = dice.pick({64, 96, 200});
      spec.rows_max = dice.count(1, 12);
    }
    s.workers.push_back(spec);
  }
}

// Could the others do without any one of them?
bool replaceable(const Scenario& s) {
  const WorkerSpec& first = s.workers.front();
  return s.workers.size() >= 3 && std::ranges::all_of(s.workers, [&](const WorkerSpec& w) {
           return w.blocks == first.blocks && w.context_max == first.context_max;
         });
}

// Impatient ones give up workers that are only slow, which must be as harmless.
void add_stalls(Scenario& s, Dice& dice) {
  s.batcher.stall = Duration::ms(dice.pick({5, 50, 400}));
  const int32_t count = dice.count(1, 3);
  for (int32_t i = 0; i < count; ++i) {
    PlannedFault fault{.fault = Fault::worker_stalls};
    fault.at = Instant{} + Duration::us(dice.between(0, kFaultsUntil.ns / 1000));
    fault.lasts = Duration::us(dice.between(0, 2'000'000));
    fault.worker = static_cast<size_t>(dice.between(0, static_cast<int64_t>(s.workers.size()) - 1));
    if (i == 0 && replaceable(s) && dice.chance(0.5)) fault.lasts = kForEver;
    s.faults.push_back(fault);
  }
}

Submit submit_of(uint64_t id, Dice& dice, bool tight_deadlines) {
  Submit submit{.id = {id}};
  submit.prompt_tokens = dice.chance(0.05) ? dice.count(60, 220) : dice.count(1, 48);
  for (int32_t i = 0; i < submit.prompt_tokens; ++i) {
    submit.tokens.push_back(static_cast<TokenId>(dice.between(0, kVocab - 1)));
  }
  submit.tenant = std::string(1, static_cast<char>('a' + dice.between(0, 3)));
  Sampling& sampling = submit.sampling;
  sampling.seed = dice.roll();
  sampling.max_tokens = dice.chance(0.1) ? dice.count(0, 2) : dice.count(1, 60);
  if (dice.chance(0.05)) sampling.max_tokens = 100'000;
  if (dice.chance(0.3)) sampling.logprobs = 0;
  if (dice.chance(0.2) || sampling.max_tokens == 0) sampling.prompt_logprobs = 0;
  if (dice.chance(0.5)) {
    for (TokenId t = 0; t < kVocab; t += 37) sampling.stop_tokens.push_back(t);
    if (dice.chance(0.3)) sampling.min_tokens = std::min(4, sampling.max_tokens);
  }
  if (dice.chance(tight_deadlines ? 0.5 : 0.05))
    submit.time_left = Duration::ms(dice.between(1, 300));
  return submit;
}

void add_requests(Scenario& s, Dice& dice) {
  const int32_t count = dice.pick({1, 4, 12, 30, 30, 60}) * (crowded(s.seed) ? 10 : 1);
  const bool burst = dice.chance(0.3);
  const bool tight_deadlines = dice.chance(0.2);
  const double cancels = dice.pick({0.0, 0.0, 0.1, 0.5});
  for (int32_t i = 0; i < count; ++i) {
    PlannedRequest request;
    request.at = Instant{} + Duration::us(burst ? dice.between(0, 3000) : dice.between(0, 300'000));
    request.gateway = static_cast<size_t>(dice.between(0, static_cast<int64_t>(s.gateways) - 1));
    request.submit = submit_of(static_cast<uint64_t>(i) + 1, dice, tight_deadlines);
    if (dice.chance(cancels))
      request.cancel_at = request.at + Duration::us(dice.between(0, 200'000));
    request.twice = dice.chance(0.03);
    s.requests.push_back(std::move(request));
  }
}

void add_faults(Scenario& s, Dice& dice) {
  const int32_t count = dice.pick({0, 0, 1, 2, 4, 10});
  for (int32_t i = 0; i < count; ++i) {
    PlannedFault fault;
    const Fault kinds[] = {Fault::worker_dies,     Fault::worker_dies,  Fault::stream_breaks,
                           Fault::stream_breaks,   Fault::worker_slows, Fault::worker_drains,
                           Fault::router_restarts, Fault::gateway_dies};
    fault.fault = dice.pick(kinds);
    fault.at = Instant{} + Duration::us(dice.between(0, kFaultsUntil.ns / 1000));
    fault.lasts = Duration::us(dice.between(0, 100'000));
    fault.worker = static_cast<size_t>(dice.between(0, static_cast<int64_t>(s.workers.size()) - 1));
    fault.gateway = static_cast<size_t>(dice.between(0, static_cast<int64_t>(s.gateways) - 1));
    fault.late_news_arrives = dice.chance(0.5);
    s.faults.push_back(fault);
  }
  if (dice.chance(0.05)) {
    s.faults.push_back(
        {.fault = Fault::router_drains, .at = Instant{} + Duration::us(dice.between(0, 300'000))});
  }
  if (dice.chance(0.3)) s.transfer_damage = dice.pick({0.01, 0.1, 0.5});
  if (dice.chance(0.1)) s.worker_faults.nan = 0.002;
  if (dice.chance(0.2)) s.worker_faults.flaky = 0.005;
  if (dice.chance(0.2)) s.worker_faults.nonsense = 0.005;
}

}  // namespace

Scenario scenario_of(uint64_t seed) {
  Dice dice(seed, 1);
  Scenario s;
  s.seed = seed;
  s.batcher.lease_tokens = dice.pick({1, 2, 4, 8, 16, 64});
  s.batcher.step_token_budget = dice.pick({0, 4, 8, 32, 128});
  s.batcher.epoch = 1'700'000'000'000 + seed;
  s.worker_step_budget = s.batcher.step_token_budget > 0 ? s.batcher.step_token_budget : 32;
  if (dice.chance(0.2)) s.batcher.queue_max = dice.count(1, 8);
  if (dice.chance(0.1)) s.batcher.queue_tokens_max = dice.count(50, 300);
  if (dice.chance(0.1)) s.batcher.tenant_queue_max = dice.count(1, 4);
  s.gateways = static_cast<size_t>(dice.between(1, 3));
  s.latency_us_max = dice.pick({10, 500, 5000});
  add_workers(s, dice, dice.pick({2, 4, 8, 16}));
  if (crowded(seed)) add_workers(s, dice, s.workers.front().block_tokens);
  if (seed >= kSpeculatingSeeds)
    for (WorkerSpec& worker : s.workers) worker.drafts = dice.count(1, 3);
  add_requests(s, dice);
  add_faults(s, dice);
  if (seed >= kStallingSeeds) add_stalls(s, dice);
  return s;
}

bool Scenario::quiet() const {
  return faults.empty() && transfer_damage == 0 && worker_faults.nan == 0 &&
         worker_faults.flaky == 0 && worker_faults.nonsense == 0;
}

std::string Scenario::text() const {
  std::ostringstream out;
  out << "seed " << seed << ": lease " << batcher.lease_tokens << " budget "
      << batcher.step_token_budget << " queue " << batcher.queue_max << ", " << requests.size()
      << " requests, " << gateways << " gateways, " << faults.size() << " faults, damage "
      << transfer_damage << " nan " << worker_faults.nan << " flaky " << worker_faults.flaky
      << " nonsense " << worker_faults.nonsense << "\n";
  for (const WorkerSpec& w : workers) {
    out << "  worker role " << static_cast<int>(w.role) << " blocks " << w.blocks << "x"
        << w.block_tokens << " rows " << w.rows_max << " context " << w.context_max << " step "
        << w.step_us << "us + " << w.token_us << "us/token\n";
  }
  for (const PlannedFault& f : faults) {
    out << "  fault " << static_cast<int>(f.fault) << " at " << f.at.ns / 1000 << "us for "
        << (f.lasts == kForEver ? -1 : f.lasts.ns / 1000) << "us, worker " << f.worker
        << " gateway " << f.gateway << "\n";
  }
  return out.str();
}

}  // namespace fathom::sim
