// What is one rank of a model to the engine? Something that runs a batch: every rank of a
// tensor-parallel group is given the same batch and the same order of steps. One walk over the
// layers stands behind it (decoder.h); what differs between architectures is their attention.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "comm/comm.h"
#include "kernels/collectives.h"
#include "kernels/ops.h"
#include "model/batch.h"
#include "model/buffer.h"
#include "model/config.h"
#include "model/expert_exchange.h"
#include "model/weights.h"

namespace fathom {

// Ranks of one process share one KV pool: they write, and all wait here until all have. False when
// a rank gave up; then nobody may go on.
class LocalBarrier {
 public:
  virtual ~LocalBarrier() = default;
  virtual bool arrive_and_wait() = 0;
};

// Receives logits of rank 0 while the forward runs, on its device: `first` counts within
// Batch::logit_rows(). A tile of rows at a time, so that scoring a long prompt needs no memory for
// all its logits. An error ends the step.
using LogitsSink =
    std::function<Status(int32_t first, std::span<const float> logits, int32_t rows)>;

// For tests: sees values between the layers (in host memory), [rows, hidden] each and complete
// (summed over the ranks): "embed" (layer -1); "attention", "feed_forward" and "out" of each layer.
using LayerTap =
    std::function<void(int32_t layer, std::string_view what, std::span<const float> values)>;

struct RankParts {
  const ModelConfig* config = nullptr;
  const Ops* ops = nullptr;
  OpContext context;
  Comm* comm = nullptr;
  Collectives* collectives = nullptr;  // sums on the devices; null: comm sums in host memory
  std::vector<LatentCache>
      caches;                      // one a cached layer, of models with mla; the draft layer's last
  std::vector<KvCache> kv_caches;  // one a layer, of models with gqa
  ExpertExchange* experts = nullptr;  // shares experts with other groups; null: does not
  LocalBarrier* barrier = nullptr;    // null: this rank writes all that it reads
  bool writes_cache = true;           // of latents, one of those who share a pool is enough
  int32_t first_cached_head = 0;      // of the model's key-value heads, the first in kv_caches
  // What feeds the rows of a batch whose tokens are drawn ahead of them; null: there are none.
  const Buffer<TokenId>* drawn = nullptr;
  LayerTap tap;  // usually empty
};

class ModelRank {
 public:
  virtual ~ModelRank() = default;
  // Runs the batch; every rank of the group calls it with the same batch. `sink` is used on rank 0
  // only.
  virtual Status forward(const Batch& batch, const LogitsSink& sink) = 0;
  // Guesses one token further (multi-token prediction). A row of `batch` holds a token and the
  // position *before* it; it goes on from row `from[r]` of what ran last, forward or draft. Its
  // logits are about the token after the one it holds. Only where the config has draft_layers;
  // the module's KV is the cache behind those of the layers, at the position's slot.
  virtual Status draft(const Batch& batch, std::span<const int32_t> from,
                       const LogitsSink& sink) = 0;
  // Where experts are shared: computes this rank's for the rows of the others, in a pass in which
  // it has none of its own. Touches nothing else.
  virtual Status assist(const AssistedPass& pass) = 0;
};

// `weights` must outlive the rank.
std::unique_ptr<ModelRank> make_model_rank(const RankParts& parts, const ModelWeights& weights);

}  // namespace fathom
