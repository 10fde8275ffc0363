#include "tests/load/groups/group.h"

#include "base/check.h"
#include "engine/expert_group.h"
#include "engine/tp_engine.h"

namespace fathom::load {
namespace {

TpEngineConfig settings(const GroupKind& kind) {
  return {.model_dir = FATHOM_SOURCE_DIR "/tests/golden/data/" + std::string(kind.model),
          .block_tokens = kBlockTokens,
          .kv_blocks = kBlocksMax};
}

TpEngineConfig settings_of_group(const GroupKind& kind) {
  TpEngineConfig c = settings(kind);
  c.tensor_parallel = kind.tensor_parallel;
  c.device.own_pools = kind.own_pools;
  c.speculative_tokens = kind.drafts;
  c.steps_ahead = true;
  return c;
}

std::unique_ptr<Engine> make(const TpEngineConfig& config) {
  auto made = make_tp_engine(config);
  CHECK(made.ok(), made.ok() ? "" : made.error().text());
  return std::move(made).value();
}

}  // namespace

Group::Group(const GroupKind& kind) : kind_(kind), one_rank_(make(settings(kind))) {
  TpEngineConfig config = settings_of_group(kind);
  if (kind.expert_parallel > 1) {
    auto made = make_expert_group(config, kind.expert_parallel);
    CHECK(made.ok(), made.ok() ? "" : made.error().text());
    engines_ = std::move(made).value();
    return;
  }
  TpEngineConfig same_sums = settings(kind);
  same_sums.tensor_parallel = kind.tensor_parallel;
  same_sums_ = make(same_sums);
  if (kind.processes) {
    config.group = {.processes = 2, .process = 0, .leader = "127.0.0.1:0"};
    config.group.listening = [this, config](int port) {
      TpEngineConfig c = config;
      c.group = {.processes = 2, .process = 1, .leader = "127.0.0.1:" + std::to_string(port)};
      follower_ = std::thread([c] {
        const Status followed = run_follower(c);
        CHECK(followed.ok(), followed.ok() ? "" : followed.error().text());
      });
    };
  }
  engines_.push_back(make(config));
}

Group::~Group() {
  engines_.clear();
  if (follower_.joinable()) follower_.join();
}

}  // namespace fathom::load
