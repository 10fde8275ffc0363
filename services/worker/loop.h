// Who turns the crank? One thread: at each step boundary it applies the edits that wait, plans,
// lets the engine run the step and reports once for all sequences; with nothing to compute it
// sleeps. Where the engine can, the next step of decoding rows is begun before the last one is
// waited for. Everything it needs is handed in, and turn() does one boundary and step, so tests
// drive it without threads. Invariants: a block is free or belongs to sequences; a sequence ends
// with one finish, one failure or a Drop, and its blocks are free from then on; an edit that breaks
// the contract fails its sequence and nothing else. docs/worker.md has the states and the failures.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "contract/drive.h"
#include "engine/engine.h"
#include "kv/allocator.h"
#include "net/drive_service.h"
#include "net/fetch.h"
#include "worker/flight.h"
#include "worker/inbox.h"
#include "worker/metrics.h"
#include "worker/pace.h"
#include "worker/plan.h"
#include "worker/sequence.h"
#include "worker/speculation.h"
#include "worker/transfer.h"

namespace fathom {

struct LoopConfig {
  Role role = Role::both;
  std::string model;          // served name
  std::string fetch_address;  // where peers reach our BlockSource
  uint64_t instance = 0;      // random per start
  int32_t rows_max = 256;     // sequences held at once
  int32_t step_token_budget = 512;
  int32_t prompt_token_budget = 0;  // of a step of a prompt that is alone here; 0: the same
  // What a step should last that computes prompts beside rows that decode; 0: no matter.
  Duration mixed_step{0};
  bool prefix_cache = true;
  Duration ticket_patience = Duration::seconds(10);
  Duration stall = Duration::seconds(30);  // a turn that runs longer takes no new router
  int32_t speculative_tokens = 0;  // drafts of a row at most; the engine must have a drafter
};

class Loop final : public DriveHandler {
 public:
  // Called on the loop's thread for each report; must not block.
  using Sink = std::function<void(Report)>;
  // Everything outlives the loop.
  Loop(Engine& engine, Fetcher& fetcher, const Clock& clock, const LoopConfig& config,
       WorkerMetrics& metrics, Sink sink);
  ~Loop() override;

  // From any thread.
  Result<Welcome> on_hello(const Hello& hello) override;
  void on_edits(Edits edits) override;
  void on_router_gone() override;
  BlockSource& source() { return exports_; }
  void drain();  // say so to the router; drained() once nothing runs
  void stop();   // ends run()
  bool drained() const { return drained_; }
  // What the turn that runs has taken so far; 0 between turns. For who watches from outside.
  Duration running_for() const;

  // On the loop's thread. One boundary and at most one step; false when there was nothing to do.
  bool turn();
  // Turns until stop() or, while draining, until nothing runs. An error: the engine's group is
  // broken.
  Status run();

 private:
  void take_messages();
  void apply(const RouterReset& reset);
  void apply(const Edits& edits);
  void apply(const FetchEnd& end);
  void apply(DrainRequest);
  void apply(StopRequest) { stopped_ = true; }
  Status edit(const Hello&) { return {}; }
  Status edit(const Prefill& edit);
  Status edit(const Receive& edit);
  Status edit(const Decode& edit);
  Status edit(const Renew& edit);
  Status edit(const Drop& edit);

  Status admit(SeqId seq, int32_t blocks);
  Status room_for(int32_t blocks);
  void fail(SeqId seq, const Error& why);
  // Ends every use of the sequence's blocks, frees them and forgets it. `why` is told to peers that
  // fetch it. With a row in flight its blocks are freed when that has landed.
  void forget(SeqId seq, const Error& why);

  void reset(int32_t step_token_budget);  // from any thread
  static Error dropped();
  void drop_everything();

  // The prefix cache, loop_prefix.cpp.
  PrefixScope scope_of(const Sequence& sequence) const;
  void adopt_prefix(Sequence& sequence, int32_t blocks_max);
  void adopt_prefixes();
  void publish_prefix(const Sequence& sequence);
  void count_prefix(const Sequence& sequence);

  bool turn_once();
  // Steps, loop_steps.cpp. Plans the next one, behind the one in flight if there is one; false when
  // there is none.
  bool make_plan();
  bool list_runnable();
  int32_t tokens_of_step() const;  // at most
  int32_t prompt_tokens_beside(int32_t decode_rows) const;
  void add_row(Sequence& sequence, const Share& share);
  // Begins what was planned; false when the engine is broken.
  bool take_off();
  // Waits for the step begun first, takes in what it drew and reports.
  void land();
  void land_all();
  void abandon_flights();  // the engine is broken
  void bury();             // sequences that left and have no row in flight any more
  bool leaving(SeqId seq) const;
  void digest(const FlightRow& row, StepRowResult& result);
  void take_drafts(const FlightRow& row, StepRowResult& result);
  void observe_step(const Flight& flight, Duration took);

  void send_report();
  void observe_state();
  SequenceLimits limits() const;

  static constexpr int64_t kBetweenTurns = -1;

  Engine& engine_;
  const Clock& clock_;
  const LoopConfig config_;
  WorkerMetrics& metrics_;
  const Sink sink_;
  Inbox inbox_;
  BlockPool pool_;
  Exports exports_;
  Imports imports_;

  std::mutex epoch_mutex_;
  uint64_t epoch_ = 0;
  std::atomic<uint64_t> resets_asked_ = 0;  // RouterResets put into the inbox
  std::atomic<bool> drained_ = false;
  std::atomic<int64_t> turn_began_ns_ = kBetweenTurns;

  // The loop's thread alone.
  std::vector<std::unique_ptr<Sequence>> sequences_;  // in order of admission
  std::unordered_map<SeqId, Sequence*> by_id_;
  std::vector<std::unique_ptr<Sequence>> leaving_;  // forgotten with a row in flight
  std::deque<Flight> flights_;                      // at most two; at a boundary at most one
  Instant landed_;                                  // when the last step was finished
  std::vector<LoopMessage> messages_;
  std::vector<Runnable> runnable_;
  std::vector<Share> shares_;
  Speculation speculation_;
  Pace pace_;
  int32_t drafts_asked_ = 0;  // of each decode row of the step
  Plan plan_;
  std::vector<std::pair<SeqId, Error>> ended_;  // by this step: forgotten once its report left
  Report report_;
  bool news_ = false;  // report_ says something beside a step
  uint64_t resets_applied_ = 0;
  uint64_t steps_ = 0;
  int32_t step_token_budget_ = 0;  // the router's, or the config's where it names none
  bool draining_ = false;
  bool stopped_ = false;
  Status engine_status_;
};

}  // namespace fathom
