#include "model/forward.h"

#include "model/deepseek.h"

namespace fathom {

std::unique_ptr<ModelRank> make_model_rank(RankParts parts, const ModelWeights& weights) {
  return std::make_unique<DeepseekRank>(std::move(parts), std::get<DeepseekWeights>(weights));
}

}  // namespace fathom
