// What does the Batcher remember, and which file changes it? One struct of plain parts; its
// functions are grouped by the question they answer, one file each. Nothing here does I/O or reads
// a clock: `now` is the latest instant any call brought.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "batching/batcher.h"
#include "batching/placement.h"
#include "batching/request_table.h"
#include "batching/waiting_queue.h"
#include "batching/worker_view.h"

namespace fathom {

struct Batcher::State {
  explicit State(const BatcherConfig& c);

  // workers.cpp: who is there, and do they fit together?
  Status worker_up(WorkerId id, const Welcome& welcome);
  void worker_down(WorkerId id);
  WorkerView* worker(WorkerId id) const;
  ClusterState cluster() const;

  // requests.cpp: how does a request begin, and how does it end?
  void submit(GatewayId gateway, Submit&& submit);
  void refuse(const RequestKey& key, Error error, Duration retry_after = {});
  void cancel(Request& request);
  void expire();
  void fail(Request& request, Error error, const WorkerView* freed_by = nullptr);
  // The last thing that happens to a request; its terminal event is already queued.
  void end(Request& request, Finish finish, Code code, const WorkerView* freed_by = nullptr);
  std::optional<Error> too_long(const Request& request) const;

  // admit.cpp: who of those waiting is placed now?
  void admit();
  bool admit_one();
  enum class Attempt { placed, no_room, impossible, ended };
  Attempt attempt(Request& request);
  void place(Request& request, const PlacementChoice& choice, int32_t total);
  PlacementNeed need_of(const Request& request) const;
  void passed_over(Request& request);
  void choose_claim();

  // reports.cpp: what did a worker do?
  void report(WorkerView& worker, const Report& report);
  void on_row(WorkerView& worker, const Row& row);
  bool plausible(const WorkerView& worker, const Request& request, const Row& row) const;
  void note_computed(Request& request, const Row& row);
  Tokens event_of(Request& request, const Row& row);
  void note_times(Request& request, int32_t count);
  void deliver(WorkerView& worker, Request& request, const Row& row);
  void on_first_token_of_handoff(Request& request);
  void on_resident(WorkerView& worker, SeqId seq);
  void on_failed(WorkerView& worker, const SeqFailure& failure);

  // renew.cpp: who may go on, and who gives way?
  void note_lease(Request& request);
  void renew();
  void renew_on(WorkerView& worker);
  bool extend_grant(WorkerView& worker, Request& request);
  void give_way(Request& request);

  // release.cpp: how does a placement end without its request?
  void release(Request& request, const WorkerView* freed_by);
  void release_prefill(Request& request, bool drop);
  void requeue(Request& request, const WorkerView* freed_by);
  void lost(Request& request, const WorkerView* freed_by, bool avoid, const Error& why);

  // silence.cpp: which worker has stopped stepping?
  void heard(WorkerView& worker, const Report& report);
  void give_up_silent();
  Instant watch_silence();  // when to look again
  bool owes_step(const WorkerView& worker) const;
  Duration patience_with(const WorkerView& worker) const;
  Instant silence_ends(const WorkerView& worker) const;

  // integrity.cpp
  void check_integrity() const;

  struct Claim {
    Request* holder = nullptr;  // passed over too often: what it needs is kept free for it
    WorkerView* prefill = nullptr;
    WorkerView* home = nullptr;
  };

  BatcherConfig config;
  Instant now{0};
  bool draining = false;
  RequestTable table;
  WaitingQueue queue;
  std::map<WorkerId, std::unique_ptr<WorkerView>> workers;
  Workers live;                     // the same, in order of id
  std::optional<Welcome> identity;  // what all workers agree on
  LongestSequence longest_ever;     // longer prompts were never possible
  LongestSequence longest_now;
  Claim claim;
  bool admit_again = false;  // something changed that may let a request in
  std::set<std::tuple<Instant, uint64_t, Request*>> deadlines;

  std::map<uint64_t, int32_t> stalls;  // by instance: given up so often
  std::vector<StalledWorker> stalled;

  std::vector<std::pair<GatewayId, FromRouter>> events;
  std::vector<RequestTrace> traces;
  std::vector<Incident> incidents;
  BatcherLatencies latencies;
  BatcherStats counters;                     // all of it but what stats() counts itself
  std::vector<Request*> candidates, passed;  // scratch
};

}  // namespace fathom
