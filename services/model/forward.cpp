#include "model/forward.h"

#include "model/deepseek.h"
#include "model/llama.h"

namespace fathom {

std::unique_ptr<ModelRank> make_model_rank(RankParts parts, const ModelWeights& weights) {
  if (const auto* llama = std::get_if<LlamaWeights>(&weights))
    return std::make_unique<LlamaRank>(std::move(parts), *llama);
  return std::make_unique<DeepseekRank>(std::move(parts), std::get<DeepseekWeights>(weights));
}

}  // namespace fathom
