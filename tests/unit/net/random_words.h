// What could stand in any field? Words of the wire with every field drawn from a seed, within what
// a correct peer may send; about one in eight fields is left empty or at its limit.
#pragma once

#include <algorithm>
#include <climits>
#include <string>

#include "base/philox.h"
#include "contract/drive.h"
#include "contract/serve.h"
#include "contract/watch.h"

namespace fathom {

class RandomWords {
 public:
  explicit RandomWords(uint64_t seed) : seed_(seed) {}

  uint64_t bits() {
    const auto r = philox(seed_, ++counter_);
    return (uint64_t{r[0]} << 32) | r[1];
  }
  bool chance(uint64_t one_in) { return bits() % one_in == 0; }
  int32_t count() {
    return chance(8) ? (chance(2) ? 0 : INT32_MAX) : static_cast<int32_t>(bits() >> 40);
  }
  int32_t size(int32_t most) {
    return static_cast<int32_t>(bits() % static_cast<uint64_t>(most + 1));
  }
  float unit() { return static_cast<float>(1 + bits() % 1000) / 1000.0f; }
  float real() { return (unit() - 0.5f) * 100.0f; }
  bool flag() { return chance(2); }
  std::string text() {
    std::string out(static_cast<size_t>(size(20)), ' ');
    for (char& c : out) c = static_cast<char>(' ' + size(94));
    return out;
  }
  // What a client may have written: any bytes.
  std::string raw() {
    std::string out(static_cast<size_t>(size(20)), ' ');
    for (char& c : out) c = static_cast<char>(bits() & 0xff);
    return out;
  }
  std::vector<TokenId> tokens() {
    std::vector<TokenId> out(static_cast<size_t>(size(30)));
    for (TokenId& token : out) token = count();
    return out;
  }
  Error error() { return {static_cast<Code>(size(16)), raw(), raw()}; }
  Finish finish() { return static_cast<Finish>(size(4)); }

  TokenLogprob logprob() {
    TokenLogprob out{real(), {}};
    for (int32_t i = size(kTopLogprobsMax); i > 0; --i) out.top.push_back({count(), real()});
    return out;
  }
  std::vector<TokenLogprob> logprobs(size_t n) {
    std::vector<TokenLogprob> out;
    while (out.size() < n) out.push_back(logprob());
    return out;
  }
  Sampling sampling() {
    Sampling out;
    out.temperature = unit();
    out.top_p = unit();
    out.top_k = count();
    out.min_p = unit();
    out.repetition_penalty = unit();
    out.frequency_penalty = real();
    out.presence_penalty = real();
    for (int32_t i = size(5); i > 0; --i) out.logit_bias.emplace_back(count(), real());
    out.seed = bits();
    out.stop_tokens = tokens();
    out.min_tokens = count();
    out.max_tokens = count();
    out.logprobs = size(21) - 1;
    out.prompt_logprobs = size(21) - 1;
    return out;
  }

  Hello hello() { return {static_cast<uint32_t>(bits()), bits(), count()}; }
  Ticket ticket() { return {text(), bits(), SeqId{bits()}, bits()}; }
  Prefill prefill() {
    Prefill out{.seq = SeqId{bits()}, .tokens = tokens()};
    out.prompt_tokens = size(static_cast<int32_t>(out.tokens.size()));
    out.sampling = sampling();
    out.blocks = count();
    out.lease = count();
    out.handoff = flag();
    out.key = bits();
    return out;
  }
  Decode decode() {
    Decode out{.seq = SeqId{bits()}, .tokens = tokens()};
    out.prompt_tokens = size(static_cast<int32_t>(out.tokens.size()));
    out.sampling = sampling();
    out.lease = count();
    return out;
  }
  Edit edit() {
    switch (size(5)) {
      case 0:
        return hello();
      case 1:
        return prefill();
      case 2:
        return Receive{SeqId{bits()}, count(), count(), ticket()};
      case 3:
        return decode();
      case 4:
        return Renew{SeqId{bits()}, count(), count()};
      default:
        return Drop{SeqId{bits()}};
    }
  }
  Edits edits() {
    Edits out;
    for (int32_t i = size(8); i > 0; --i) out.push_back(edit());
    return out;
  }

  Welcome welcome() {
    return {
        .protocol = static_cast<uint32_t>(bits()),
        .instance = bits(),
        .role = static_cast<Role>(size(2)),
        .model = text(),
        .model_digest = text(),
        .kv = {text(), text(), count(), count(), 1 + size(1000), static_cast<int64_t>(bits() >> 1)},
        .blocks = count(),
        .rows_max = count(),
        .context_max = count(),
        .vocab = count(),
        .tensor_parallel = 1 + size(64),
        .fetch_address = text()};
  }
  Row row() {
    Row out{.seq = SeqId{bits()}, .first = count(), .tokens = tokens()};
    if (flag()) out.logprobs = logprobs(out.tokens.size());
    out.prompt_logprobs = logprobs(static_cast<size_t>(size(3)));
    out.computed = count();
    out.cached = count();
    out.finish = finish();
    return out;
  }
  Report report() {
    Report out;
    if (flag()) out.welcome = welcome();
    out.step = bits();
    out.step_us = bits();
    out.prefill_tokens = count();
    out.decode_rows = count();
    out.drafted = count();
    out.accepted = size(std::min(out.drafted, 1000));
    for (int32_t i = size(6); i > 0; --i) out.rows.push_back(row());
    for (int32_t i = size(6); i > 0; --i) out.resident.push_back(SeqId{bits()});
    for (int32_t i = size(3); i > 0; --i) out.failed.push_back({SeqId{bits()}, error()});
    out.free_blocks = count();
    out.draining = flag();
    return out;
  }

  ToRouter to_router() {
    if (chance(4)) return Cancel{RequestId{bits()}};
    Submit out{.id = RequestId{bits()}, .tokens = tokens()};
    out.prompt_tokens = size(static_cast<int32_t>(out.tokens.size()));
    out.sampling = sampling();
    out.tenant = raw();
    out.trace = raw();
    if (flag()) out.time_left = {static_cast<int64_t>(bits() >> 8)};
    return out;
  }
  FromRouter from_router() {
    switch (size(2)) {
      case 0:
        return ClusterState{flag(),  text(),  text(),  count(), count(),
                            count(), count(), count(), count(), unit()};
      case 1: {
        Tokens out{.id = RequestId{bits()}, .first = count(), .tokens = tokens()};
        if (flag()) out.logprobs = logprobs(out.tokens.size());
        out.prompt_logprobs = logprobs(static_cast<size_t>(size(3)));
        out.cached = count();
        out.finish = finish();
        return out;
      }
      default:
        return Finished{RequestId{bits()}, finish(), error(), {static_cast<int64_t>(bits() >> 1)}};
    }
  }

  double amount() { return chance(8) ? 0.0 : static_cast<double>(bits() >> 30) * 1e-3; }
  int64_t many() { return static_cast<int64_t>(bits() >> 8); }
  Percentiles percentiles() { return {amount(), amount(), amount(), many()}; }
  WatchedLatencies latencies() {
    return {percentiles(), percentiles(), percentiles(), percentiles()};
  }
  WatchedSecond second(int64_t number) {
    WatchedSecond out{number, count(), count(), count(), count(), count(),
                      many(), many(),  count(), many(),  many()};
    for (int64_t& ended : out.ended) ended = many();
    out.prompt_tokens = many();
    out.cached_tokens = many();
    out.generated_tokens = many();
    out.moves = many();
    out.preemptions = many();
    out.recoveries = many();
    out.latencies = latencies();
    return out;
  }
  WatchedWorker watched_worker() {
    WatchedWorker out{text(), static_cast<WorkerPhase>(size(3)), amount(),
                      raw(),  static_cast<Role>(size(2)),        count()};
    for (WatchedSteps& steps : out.steps) steps = {many(), amount(), amount()};
    out.rows = amount();
    out.rows_max = count();
    out.prompt_tokens_per_step = amount();
    out.prompt_tokens_per_second = amount();
    out.cached_tokens_per_second = amount();
    out.generated_tokens_per_second = amount();
    out.drafted_per_second = amount();
    out.accepted_per_second = amount();
    out.sequences = count();
    out.uncomputed = many();
    out.blocks = count();
    out.block_tokens = count();
    out.blocks_reserved = count();
    out.blocks_held = count();
    for (int32_t i = size(kWatchedSteps); i > 0; --i) out.step_means.push_back(unit());
    return out;
  }
  WatchFrom watch_from() { return {many(), many()}; }
  ClusterUpdate cluster_update() {
    ClusterUpdate out;
    out.view = {amount(), amount(), text(), flag(), flag(), count(), count(), latencies()};
    for (int32_t i = size(4); i > 0; --i) out.view.workers.push_back(watched_worker());
    int64_t number = 0;
    for (int32_t i = size(6); i > 0; --i) out.seconds.push_back(second(number += 1 + size(9)));
    for (int32_t i = size(6); i > 0; --i)
      out.happenings.push_back(
          {number += 1 + size(9),
           static_cast<HappeningKind>(size(static_cast<int32_t>(kHappeningNames.size()) - 1)),
           text(), text(), raw(), many()});
    return out;
  }

 private:
  const uint64_t seed_;
  uint64_t counter_ = 0;
};

}  // namespace fathom
