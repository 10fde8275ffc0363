// How do a router, its workers and its gateways meet in virtual time? A heap of (time, event) and
// one seed: messages take time but keep their order within a stream, steps take time, transfers
// take time, and faults strike when the scenario says so. After every event the Batcher's account
// is counted again.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "batching/batcher.h"
#include "tests/sim/world/clients.h"
#include "tests/sim/world/fake_worker.h"
#include "tests/sim/world/scenario.h"

namespace fathom::sim {

struct Outcome {
  uint64_t events = 0;
  uint64_t tokens = 0;
  uint64_t preemptions = 0;
  uint64_t recoveries = 0;
  uint64_t transfer_failures = 0;
  uint64_t stalled = 0;  // workers given up
  size_t finished = 0;
  size_t failed = 0;
  std::optional<std::string> violation;
};

class World {
 public:
  // With `log`, every edit, report and event is written there.
  World(const Scenario& scenario, std::ostream* log);
  ~World();
  Outcome run();

 private:
  // One worker process, or the place where it will start again.
  struct Node {
    explicit Node(const WorkerSpec& s, int32_t budget) : spec(s), worker(s, budget) {}
    WorkerSpec spec;
    FakeWorker worker;
    size_t index = 0;
    uint64_t instance = 0;
    WorkerId stream;     // 0 while not connected
    uint32_t life = 0;   // raised at each reset, so a step in flight is forgotten
    bool alive = false;  // the process runs
    bool stepping = false;
    bool draining = false;
    bool stalled = false;       // its loop stands still; its connections do not
    bool step_returns = false;  // once it goes on: the step's time was over before
    std::vector<std::pair<SeqId, Instant>> fetches;  // to be looked at then, with their beginnings
    Instant slow_until{0};
    Instant last_edit{0}, last_report{0};  // deliveries keep their order
    Edits pending;
  };

  void at(Instant when, std::function<void()> what);
  Duration latency() { return Duration::us(dice_.between(1, scenario_.latency_us_max)); }
  std::string address(const Node& node) const { return "node" + std::to_string(node.index); }

  // streams.cpp
  void connect(Node& node);
  void disconnect(Node& node, bool late_news_arrives);
  void reset(Node& node);
  void give_up(const StalledWorker& stalled);
  void send_edits(WorkerId to, Edits edits);
  void send_report(Node& node, Report report);
  Node* node_of(WorkerId stream);
  Welcome welcome_of(const Node& node) const;
  void kick(Node& node);
  void finish_step(Node& node);

  // transfers.cpp
  void start_transfers(Node& node);
  void poll_transfer(Node& node, SeqId seq, Instant started);
  void fail_transfer(Node& node, SeqId seq, Code code);

  // faults.cpp
  void strike(const PlannedFault& fault);
  void stall(Node& node, Instant until);
  void restart_router();
  void leave_when_drained(Node& node);
  void lose_gateway(size_t gateway);

  void submit(Clients::Client& client);
  void start_clients();
  void tick_soon();
  void tick();
  void look_at(const Decisions& decisions);
  void look_on(const BatcherStats& stats) const;
  void check_end();
  void check_told(const BatcherStats& stats);
  void say(const std::string& text);

  const Scenario& scenario_;
  std::ostream* log_;
  Dice dice_;
  Instant now_{0};
  struct Event {
    Instant when;
    uint64_t order = 0;
    std::function<void()> what;
    bool operator>(const Event& other) const {
      return std::tie(when, order) > std::tie(other.when, other.order);
    }
  };
  std::priority_queue<Event, std::vector<Event>, std::greater<>> heap_;
  uint64_t order_ = 0;

  std::unique_ptr<Batcher> batcher_;
  uint32_t router_life_ = 0;
  bool router_draining_ = false;
  bool tick_planned_ = false;
  Instant wake_planned_ = kNever;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<GatewayId> gateways_;  // connection of each, 0 when lost
  std::map<SeqId, WorkerId> homes_;  // where a sequence was told to decode
  std::set<uint32_t> deaf_;          // streams whose late news is lost
  uint32_t streams_ = 0;
  uint32_t connections_ = 0;
  uint64_t instances_ = 0;
  Clients clients_;
  Outcome outcome_;
};

// Runs a scenario to its end, with violations as text.
Outcome run_seed(uint64_t seed, std::ostream* log = nullptr);

}  // namespace fathom::sim
