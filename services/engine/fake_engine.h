// How do we test a cluster without a model? FakeEngine keeps a hash chain in its KV blocks:
// position p stores its token, and the next token is a function of everything read back through the
// block table. A wrong block, a lost or torn transfer, a wrong position or a stale token therefore
// changes the tokens, and a pure function tells what they should have been.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "engine/engine.h"

namespace fathom {

struct FakeEngineConfig {
  std::string model = "fake";
  std::string model_digest = "fake";
  int32_t blocks = 1024;
  int32_t block_tokens = 16;
  int32_t context_max = 4096;
  int32_t vocab = 512;
  TokenId first_token =
      2;  // ids below it (BOS, EOS) are only drawn when a logit bias of 100 or more asks
  // Every step reads the whole context back, so any damage shows in the very next token. Off, a
  // step costs O(1) a row and sees damage in the last position only.
  bool read_everything = true;
  // A drafter that guesses up to so many tokens, each right with this chance when those before it
  // were. The chance is drawn from the chain, so it is the same in every run.
  int32_t drafts_max = 0;
  double draft_acceptance = 0.7;
  bool steps_ahead = false;
  Duration step_base{0};               // a step costs this,
  Duration step_per_token{0};          // and this for each of its tokens,
  std::function<void(Duration)> wait;  // spent here; none: no time passes
};

std::unique_ptr<Engine> make_fake_engine(FakeEngineConfig config);

// The token FakeEngine draws after `tokens`: a function of all of them and, when the temperature is
// not zero, of the seed.
TokenId expected_token(const FakeEngineConfig& config, std::span<const TokenId> tokens,
                       const Sampling& sampling);

}  // namespace fathom
