#include "model/forward.h"

#include "model/deepseek.h"
#include "model/llama.h"

namespace fathom {

Status ModelRank::draft(const Batch&, std::span<const int32_t>, const LogitsSink&) {
  return Error{Code::unimplemented, "this architecture has no module that drafts", "draft_layers"};
}

std::unique_ptr<ModelRank> make_model_rank(RankParts parts, const ModelWeights& weights) {
  if (const auto* llama = std::get_if<LlamaWeights>(&weights))
    return std::make_unique<LlamaRank>(std::move(parts), *llama);
  return std::make_unique<DeepseekRank>(std::move(parts), std::get<DeepseekWeights>(weights));
}

}  // namespace fathom
