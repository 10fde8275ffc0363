#include "model/forward.h"

#include "model/decoder.h"
#include "model/grouped_attention.h"
#include "model/latent_attention.h"

namespace fathom {

std::unique_ptr<Attention> make_attention(const RankOps& ops, Room& room, RankParts parts) {
  if (ops.config().attention == AttentionKind::gqa)
    return std::make_unique<GroupedAttention>(ops, room, std::move(parts.kv_caches),
                                              parts.first_cached_head);
  return std::make_unique<LatentAttention>(ops, room, std::move(parts.caches));
}

std::unique_ptr<ModelRank> make_model_rank(const RankParts& parts, const ModelWeights& weights) {
  return std::make_unique<Decoder>(parts, weights);
}

}  // namespace fathom
