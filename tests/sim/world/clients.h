// What must a client see? Each request's tokens without gap or repeat, equal to the chain they must
// be, and one end. This is the judge of the simulation: it knows the right answer and nothing of
// how it is made.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "batching/batcher.h"
#include "tests/sim/world/scenario.h"

namespace fathom::sim {

class Clients {
 public:
  explicit Clients(const Scenario& scenario);

  struct Client {
    const PlannedRequest* plan = nullptr;
    bool submitted = false;
    bool over = false;  // its terminal event came
    bool gone = false;  // its gateway died: nothing may come any more
    bool cancelled = false;
    bool again = false;  // a second submit of the same id is to be refused
    Instant deadline = kNever;
    std::vector<TokenId> received;
    std::vector<TokenLogprob> prompt_logprobs;
    uint64_t kv = 0;  // of prompt and received
    Finish finish = Finish::none;
    Code code = Code::ok;
    Instant over_at;
  };

  void on_event(const FromRouter& event, Instant now);
  Client& client(RequestId id) { return clients_.at(id.value); }
  std::map<uint64_t, Client>& all() { return clients_; }
  // What the gateway of this client would send to a new router.
  Submit resubmission(const Client& client, Instant now) const;
  size_t unfinished() const;

 private:
  void on(const Tokens& event, Instant now);
  void on(const Finished& event, Instant now);
  void on(const ClusterState&, Instant) {}
  void check_end(Client& client, Instant now) const;
  void check_failure(const Client& client, Instant now) const;

  const Scenario& scenario_;
  int32_t longest_ = 0;           // some worker could hold so many tokens
  int32_t longest_of_least_ = 0;  // every worker can
  std::map<uint64_t, Client> clients_;
};

}  // namespace fathom::sim
