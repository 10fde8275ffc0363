// How does a test drive an engine the way a worker does? It cuts prompts into chunks, keeps block
// tables, feeds sampled tokens back, moves blocks between engines, and writes down every row of
// logits on the way.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/tp_engine.h"
#include "kv/allocator.h"

namespace fathom {

struct Request {
  std::vector<TokenId> tokens;
  std::vector<int32_t> positions;  // whose logits are wanted; the last prompt position always is
  Sampling sampling{.temperature = 0};
  int32_t count = 32;
  int32_t prompt_tokens =
      0;  // of the request, when `tokens` also holds emitted ones; 0: all of them
};

struct Generated {
  std::map<int32_t, std::vector<float>> logits;  // by position
  std::vector<TokenId> tokens;
  bool operator==(const Generated&) const = default;
};

// An engine with its block accounts.
class EngineUnderTest {
 public:
  explicit EngineUnderTest(TpEngineConfig config);
  // Of an engine whose logits come through see().
  explicit EngineUnderTest(std::unique_ptr<Engine> engine);
  void see(int32_t row, int32_t position, std::span<const float> logits) {
    tap_(row, position, logits);
  }
  Engine& engine() { return *engine_; }
  BlockPool& blocks() { return blocks_; }

 private:
  friend class Generation;
  std::function<void(int32_t, int32_t, std::span<const float>)> tap_;
  std::unique_ptr<Engine> engine_;
  BlockPool blocks_;
};

struct DraftCount {
  int32_t verified = 0, right = 0;
};

struct Schedule {
  int32_t chunk = 1 << 30;               // prompt tokens a step
  bool together = false;                 // all requests in one batch, or one after the other
  EngineUnderTest* decode_on = nullptr;  // moves every sequence there after its prompt
  int32_t drafts = 0;                    // guesses asked of an engine that drafts
  DraftCount* counted = nullptr;
  bool prompt_drafts = true;  // the drafter follows the prompt
  bool ahead = false;  // each decoding step begins before the last one is waited for; no drafts
};

// Bit for bit, not merely close; a test failure names `what`, the prompt and the position.
void expect_same(const std::string& what, const std::vector<Generated>& got,
                 const std::vector<Generated>& want);

std::vector<Generated> generate(EngineUnderTest& engine, const std::vector<Request>& requests,
                                const Schedule& schedule);

}  // namespace fathom
