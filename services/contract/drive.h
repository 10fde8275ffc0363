// What do a router and a worker say to each other? Edits go down, one message per tick; reports
// come up, one message per step. Plain values: net/ turns them into protobuf, batching/ writes and
// reads them, worker/ obeys them. docs/architecture.md section 4 tells the story.
//
// Blocks are accounted in numbers by the router and handed out by the worker: a lease is permission
// to run one sequence for up to n more tokens *with the blocks for them reserved*, so a worker that
// obeys its edits can never run out of memory, and one that does not says so in `failed`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "contract/sampling.h"

namespace fathom {

// Raised when a message changes its meaning. Both sides refuse another number, naming `protocol`.
inline constexpr uint32_t kProtocolVersion = 1;

enum class Role : uint8_t { prefill, decode, both };

// First message of a router on a Drive stream. A worker obeys the highest epoch it has seen; a
// stream with a lower one is ended with FAILED_PRECONDITION naming `epoch`. A new stream starts
// empty: whatever an earlier one ran is dropped and its blocks are freed.
struct Hello {
  uint32_t protocol = kProtocolVersion;
  uint64_t epoch = 0;  // the router's start in unix nanoseconds
  int32_t step_token_budget =
      0;  // most tokens of one step, decode rows included; 0 leaves it to the worker
  bool operator==(const Hello&) const = default;
};

// Where the blocks of a sequence can be fetched: the peer's address, the sequence there, and the
// secret that proves the asker was sent by the router both obey.
struct Ticket {
  std::string address;  // host:port of the peer's gRPC service
  uint64_t instance =
      0;      // Welcome::instance of the peer, so a restarted one is not mistaken for it
  SeqId seq;  // the sequence's id at the peer
  uint64_t key = 0;
  bool operator==(const Ticket&) const = default;
};

// Compute `tokens` and sample the one after them. tokens[0 .. prompt_tokens) is the client's
// prompt, what follows was emitted before and is only computed again. With `handoff` the sequence
// stops after that one token and keeps its blocks, readable with `key`, until it is dropped;
// without, it goes on decoding.
struct Prefill {
  SeqId seq;
  std::vector<TokenId> tokens;
  int32_t prompt_tokens = 0;
  Sampling sampling;
  int32_t blocks = 0;  // reserved in all, covers tokens.size() + lease
  int32_t lease = 0;   // tokens it may emit; 1 with handoff; 0 only scores the prompt
  bool handoff = false;
  uint64_t key = 0;
  bool operator==(const Prefill&) const = default;
};

// Reserve blocks and fetch the KV of the first `tokens` positions from a peer, block by block as
// they become ready there. Answered by `resident`, or by `failed` with DATA_LOSS (checksum) or
// UNAVAILABLE (peer).
struct Receive {
  SeqId seq;
  int32_t tokens = 0;  // positions whose KV moves; the first sampled token has none yet
  int32_t blocks = 0;  // reserved in all
  Ticket ticket;
  bool operator==(const Receive&) const = default;
};

// Start decoding a received sequence, as soon as it is resident. tokens is prompt + emitted; all
// but the last have their KV moved.
struct Decode {
  SeqId seq;
  std::vector<TokenId> tokens;
  int32_t prompt_tokens = 0;
  Sampling sampling;
  int32_t lease = 0;  // tokens it may emit from here
  bool operator==(const Decode&) const = default;
};

// So many tokens more, and so many blocks more. A sequence whose lease ran out waits here, its KV
// kept.
struct Renew {
  SeqId seq;
  int32_t lease = 0;
  int32_t blocks = 0;
  bool operator==(const Renew&) const = default;
};

// Forget the sequence and free its blocks. Unknown ids are ignored: it may have finished by itself.
struct Drop {
  SeqId seq;
  bool operator==(const Drop&) const = default;
};

using Edit = std::variant<Hello, Prefill, Receive, Decode, Renew, Drop>;
using Edits = std::vector<Edit>;

// How KV looks in memory. Two workers exchange blocks only when all of it is equal.
struct KvLayout {
  std::string kind =
      "mla";  // mla: latents and rope keys; gqa: keys and values of all heads; fake: FakeEngine's
  std::string dtype = "f32";  // f32 | bf16 | int8
  int32_t layers = 0;
  int32_t width = 0;  // values per token and layer: latent + rope key, or 2 * heads * dim
  int32_t block_tokens = 0;
  int64_t block_bytes = 0;  // layers * block_tokens * width * size of dtype; int8: with scales
  bool operator==(const KvLayout&) const = default;
};

// First message of a worker, in answer to Hello.
struct Welcome {
  uint32_t protocol = kProtocolVersion;
  uint64_t instance = 0;  // random per process start
  Role role = Role::both;
  std::string model;  // served name
  std::string
      model_digest;  // of config and weights (model/digest.h); all workers of a router agree
  KvLayout kv;
  int32_t blocks = 0;       // capacity
  int32_t rows_max = 0;     // sequences it can hold
  int32_t context_max = 0;  // positions a sequence may reach
  int32_t vocab = 0;
  int32_t tensor_parallel = 1;
  std::string fetch_address;  // where peers reach its Fetch, host:port
  bool operator==(const Welcome&) const = default;
};

// What a step did for one sequence.
struct Row {
  SeqId seq;
  int32_t first = 0;  // index of tokens[0] among the request's emitted tokens: a gap shows at once
  std::vector<TokenId> tokens;         // usually one; none for a prompt chunk that was not the last
  std::vector<TokenLogprob> logprobs;  // one per token when asked
  std::vector<TokenLogprob>
      prompt_logprobs;           // positions 1.. of the prompt chunk just computed, when asked
  int32_t computed = 0;          // positions whose KV is now in place
  int32_t cached = 0;            // prompt tokens that needed no computing (prefix cache)
  Finish finish = Finish::none;  // stop, length: the worker has already freed the blocks,
                                 // unless the sequence is a handoff whose blocks are still wanted
  bool operator==(const Row&) const = default;
};

struct SeqFailure {
  SeqId seq;
  Error error;
  bool operator==(const SeqFailure&) const = default;
};

struct Report {
  std::optional<Welcome> welcome;
  uint64_t step = 0;           // counts steps of this stream
  uint64_t step_us = 0;        // 0 for a report without a step (resident or failed news)
  int32_t prefill_tokens = 0;  // of that step
  int32_t decode_rows = 0;
  int32_t drafted = 0;   // guessed tokens that the step verified (multi-token prediction)
  int32_t accepted = 0;  // among them, those the model drew itself
  std::vector<Row> rows;
  std::vector<SeqId> resident;     // every block has arrived and its checksum held
  std::vector<SeqFailure> failed;  // dropped by the worker, blocks freed
  int32_t free_blocks = 0;  // after the step; for checking the router's account, not for deciding
  bool draining = false;    // SIGTERM came: finish what runs, send nothing new
  bool operator==(const Report&) const = default;
};

// Blocks that hold `positions` tokens.
constexpr int32_t blocks_for(int64_t positions, int32_t block_tokens) {
  return static_cast<int32_t>((positions + block_tokens - 1) / block_tokens);
}

}  // namespace fathom
