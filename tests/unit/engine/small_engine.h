// What do the engine's tests share? The golden checkpoint, a small pool, and prompts on blocks of
// their own.
#pragma once

#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "engine/tp_engine.h"

namespace fathom {

inline const std::string kModel = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-bf16";

inline TpEngineConfig config(int32_t tensor_parallel = 1) {
  return {
      .model_dir = kModel, .tensor_parallel = tensor_parallel, .block_tokens = 8, .kv_blocks = 32};
}

inline std::unique_ptr<Engine> make(const TpEngineConfig& c) {
  auto made = make_tp_engine(c);
  CHECK(made.ok(), made.ok() ? "" : made.error().text());
  return std::move(made).value();
}

// A leader and a follower in two threads, over sockets.
struct TwoProcesses {
  Status followed;
  std::thread follower;
  Result<std::unique_ptr<Engine>> leader = Error{};

  explicit TwoProcesses(TpEngineConfig c = config(2),
                        const std::function<void(TpEngineConfig&)>& change_follower = {}) {
    TpEngineConfig lead = c;
    lead.group.processes = 2;
    lead.group.leader = "127.0.0.1:0";
    lead.group.connect_time_max = Duration::seconds(20);
    lead.group.listening = [&](int port) {
      c.group.processes = 2;
      c.group.process = 1;
      c.group.leader = "127.0.0.1:" + std::to_string(port);
      c.group.connect_time_max = Duration::seconds(20);
      if (change_follower) change_follower(c);
      follower = std::thread([this, c] { followed = run_follower(c); });
    };
    leader = make_tp_engine(lead);
  }
  ~TwoProcesses() {
    leader = Error{};
    if (follower.joinable()) follower.join();
  }
};

// One prompt on blocks of its own.
struct Prompt {
  std::vector<TokenId> tokens;
  std::vector<BlockIndex> blocks;
  Sampling sampling{.temperature = 0};
  StepRow row() const {
    return {.tokens = tokens,
            .prompt_tokens = static_cast<int32_t>(tokens.size()),
            .blocks = blocks,
            .sample = true,
            .state = {.sampling = &sampling}};
  }
};

inline Prompt prompt(int32_t length, BlockIndex first_block) {
  Prompt p;
  for (int32_t i = 0; i < length; ++i) p.tokens.push_back((i * 37 + 11) % 512);
  p.blocks.resize(static_cast<size_t>(blocks_for(length, 8)));
  std::iota(p.blocks.begin(), p.blocks.end(), first_block);
  return p;
}

}  // namespace fathom
