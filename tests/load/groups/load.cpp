#include "tests/load/groups/load.h"

#include <algorithm>
#include <deque>
#include <map>
#include <thread>
#include <utility>

#include "batching/batcher.h"
#include "tests/load/groups/narrow_engine.h"
#include "tests/load/groups/requests.h"
#include "tests/sim/world/dice.h"
#include "tests/sim/world/violation.h"
#include "tests/unit/worker/stage.h"

namespace fathom::load {
namespace {

using sim::Dice;
using sim::require;

constexpr int32_t kRoundsMax = 20'000;  // far above any load: more means that nothing progresses
constexpr Duration kRound = Duration::ms(1);

// One engine behind a worker's loop, and what travels to and from it.
struct Worker {
  Worker(Engine& real, int32_t blocks, bool steps_ahead, const LoopConfig& config)
      : shell(std::make_unique<NarrowEngine>(real, blocks, steps_ahead)),
        engine(*shell),
        node(wire, config, std::move(shell)) {}
  stage::Wire wire;
  std::unique_ptr<NarrowEngine> shell;  // until the node has it
  NarrowEngine& engine;
  stage::Node node;
  std::deque<Edits> edits;
  std::deque<Report> reports;
  bool turns = false, did = true;
};

class Load {
 public:
  Load(Group& group, uint64_t seed) : group_(group), dice_(seed, 7) {
    const bool alone_is_large = group.kind().expert_parallel == 1 && dice_.chance(0.3);
    const LoopConfig config{.rows_max = dice_.pick({2, 4, 8, 16}),
                            .step_token_budget = 512,
                            .prompt_token_budget = alone_is_large ? 64 : 0,
                            .prefix_cache = dice_.chance(0.7),
                            .speculative_tokens = group.kind().drafts > 0 && dice_.chance(0.75)
                                                      ? dice_.count(1, group.kind().drafts)
                                                      : 0};
    const BatcherConfig brain{.lease_tokens = dice_.pick({2, 3, 6, 10}),
                              .step_token_budget = dice_.pick({5, 16, 40, 512}),
                              .epoch = 1};
    const int32_t blocks = dice_.pick({14, 16, 20, 32});
    const bool steps_ahead = dice_.chance(0.85);
    batcher_ = std::make_unique<Batcher>(brain);
    for (const auto& engine : group.engines()) {
      workers_.push_back(std::make_unique<Worker>(*engine, blocks, steps_ahead, config));
      const auto welcome = workers_.back()->node.loop.on_hello(
          {.epoch = brain.epoch, .step_token_budget = brain.step_token_budget});
      require(welcome.ok(), "a worker refused its router");
      require(batcher_->worker_up(id_of(workers_.size() - 1), *welcome).ok(),
              "a worker was refused");
    }
    ask(dice_.pick({6, 12, 18}), dice_.pick({0.0, 0.2, 0.4}), dice_.chance(0.4));
  }

  Outcome run() {
    for (; quiet_ < 2; ++round_) {
      require(round_ < kRoundsMax, "nothing progresses any more");
      now_ = now_ + kRound;
      clients_speak();
      tick();
      for (auto& worker : workers_) {
        while (!worker->edits.empty() && dice_.chance(0.7)) {
          worker->node.say(std::move(worker->edits.front()));
          worker->edits.pop_front();
        }
        worker->turns = dice_.chance(0.9);
      }
      turn();
      for (size_t i = 0; i < workers_.size(); ++i) hear(i);
      quiet_ = over() ? quiet_ + 1 : 0;
    }
    check_end();
    return outcome_;
  }

 private:
  static WorkerId id_of(size_t i) { return {static_cast<uint32_t>(i) + 1}; }
  static constexpr GatewayId kGateway{1};

  void ask(int32_t count, double cancels, bool burst) {
    const int32_t vocab = workers_.front()->engine.info().vocab;
    for (int32_t i = 0; i < count; ++i) {
      Request r = request_of(static_cast<uint64_t>(i) + 1, vocab, dice_);
      r.arrives = dice_.count(0, burst ? 3 : 60);
      if (dice_.chance(cancels)) r.leaves = r.arrives + dice_.count(0, 40);
      requests_.emplace(r.submit.id.value, std::move(r));
    }
  }

  void clients_speak() {
    for (auto& [id, r] : requests_) {
      if (r.arrives == round_) batcher_->submit(kGateway, r.submit, now_);
      if (r.leaves == round_ && !r.over) batcher_->cancel(kGateway, r.submit.id);
    }
  }

  void tick() {
    batcher_->check_integrity();
    Decisions decisions = batcher_->tick(now_);
    batcher_->check_integrity();
    for (auto& [worker, edits] : decisions.edits)
      workers_[worker.value - 1]->edits.push_back(std::move(edits));
    for (auto& [gateway, event] : decisions.events) std::visit([this](auto& e) { on(e); }, event);
  }

  // Those that turn do so at once: engines that share experts wait for each other.
  void turn() {
    std::vector<std::thread> others;
    for (size_t i = 1; i < workers_.size(); ++i)
      if (workers_[i]->turns)
        others.emplace_back([w = workers_[i].get()] { w->did = w->node.loop.turn(); });
    if (workers_[0]->turns) workers_[0]->did = workers_[0]->node.loop.turn();
    for (auto& other : others) other.join();
  }

  void hear(size_t i) {
    Worker& worker = *workers_[i];
    require(worker.engine.status().ok(),
            worker.engine.status().ok() ? "" : worker.engine.status().error().text().c_str());
    require(worker.node.leaked() == 0, "blocks of a sequence that ended", i);
    for (Report& report : std::exchange(worker.node.reports, {}))
      worker.reports.push_back(std::move(report));
    while (!worker.reports.empty() && dice_.chance(0.7)) {
      const Report& report = worker.reports.front();
      outcome_.right += static_cast<uint64_t>(report.accepted);
      batcher_->report(id_of(i), report, now_);
      worker.reports.pop_front();
    }
  }

  bool over() const {
    return round_ > 100 && batcher_->idle() && std::ranges::all_of(workers_, [](const auto& w) {
             return !w->did && w->edits.empty() && w->reports.empty();
           });
  }

  Request& live(RequestId id) {
    Request& r = requests_.at(id.value);
    require(!r.over, "something after the end of a request", id.value);
    return r;
  }
  void on(ClusterState&) {}
  void on(Tokens& event) {
    Request& r = live(event.id);
    require(event.first == static_cast<int32_t>(r.told.tokens.size()),
            "a gap or a repeat in a client's tokens", event.id.value);
    std::ranges::move(event.tokens, std::back_inserter(r.told.tokens));
    std::ranges::move(event.logprobs, std::back_inserter(r.told.logprobs));
    std::ranges::move(event.prompt_logprobs, std::back_inserter(r.told.prompt_logprobs));
    r.told.finish = event.finish;
    r.over = event.finish != Finish::none;
  }
  void on(Finished& event) {
    Request& r = live(event.id);
    require(event.finish == Finish::cancelled, event.error.text().c_str(), event.id.value);
    require(r.leaves >= 0 && r.leaves <= round_, "cancelled, but nobody asked", event.id.value);
    r.told.finish = event.finish;
    r.over = true;
  }

  void check_end() {
    for (const auto& [id, r] : requests_) {
      require(r.over, "a request never ended", id);
      check(r);
    }
    for (size_t i = 0; i < workers_.size(); ++i) {
      require(workers_[i]->node.free_blocks() == workers_[i]->engine.info().blocks,
              "a worker still holds blocks", i);
      outcome_.ahead += workers_[i]->engine.ahead();
    }
    const BatcherStats stats = batcher_->stats();
    require(stats.blocks_reserved == 0 && stats.leases == 0, "something is still promised");
    outcome_.gave_way += stats.preemptions;
  }

  // Of one that was cancelled what it heard must be the beginning.
  void check(const Request& r) {
    const uint64_t id = r.submit.id.value;
    const Told& told = r.told;
    const Told alone = told_alone(group_.same_bits(), r.submit);
    const auto begins = [](const auto& part, const auto& whole) {
      return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
    };
    require(begins(told.tokens, alone.tokens), "another token than alone", id);
    require(begins(told.logprobs, alone.logprobs), "another log-probability than alone", id);
    require(begins(told.prompt_logprobs, alone.prompt_logprobs),
            "another log-probability of the prompt than alone", id);
    if (told.finish == Finish::cancelled) {
      ++outcome_.cancelled;
    } else {
      require(told == alone, "another end than alone", id);
      if (told.tokens != told_alone(group_.one_rank(), r.submit).tokens) ++outcome_.rounded;
    }
    ++outcome_.requests;
    outcome_.tokens += told.tokens.size();
    outcome_.stopped += told.finish == Finish::stop;
  }

  Group& group_;
  Dice dice_;
  std::unique_ptr<Batcher> batcher_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<uint64_t, Request> requests_;
  int32_t round_ = 0;
  int32_t quiet_ = 0;  // rounds in which nothing was left to do; in the second everything was told
  Instant now_{1'000'000'000};
  Outcome outcome_;
};

}  // namespace

void Outcome::add(const Outcome& other) {
  requests += other.requests;
  tokens += other.tokens;
  cancelled += other.cancelled;
  stopped += other.stopped;
  gave_way += other.gave_way;
  ahead += other.ahead;
  right += other.right;
  rounded += other.rounded;
}

Outcome run_load(Group& group, uint64_t seed) {
  try {
    return Load(group, seed).run();
  } catch (const sim::Violation& violation) {
    Outcome broken;
    broken.violation =
        std::string(violation.what()) + "; " + group.kind().name + ", seed " + std::to_string(seed);
    return broken;
  }
}

}  // namespace fathom::load
