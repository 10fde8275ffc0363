// How does a test run one rank of a golden checkpoint? With float32 products on two lanes and a KV
// pool of its own, blocks of 16 positions.
#pragma once

#include <string>
#include <vector>

#include "comm/solo.h"
#include "kernels/cpu/host_device.h"
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/table.h"
#include "model/forward.h"

namespace fathom {

struct TinyModel {
  static constexpr int32_t kBlockTokens = 16;

  // `name`: a folder of tests/golden/data.
  TinyModel(const std::string& name, int32_t blocks)
      : checkpoint(Checkpoint::open(dir(name)).value()),
        config(read_model_config(dir(name)).value()),
        reader(checkpoint, {}),
        weights(read_model_weights(config, {}, reader).value()) {
    const bool grouped = config.attention == AttentionKind::gqa;
    const int32_t width = grouped ? 2 * config.kv_heads * config.head_dim : config.latent_width();
    const auto layer = static_cast<size_t>(blocks * kBlockTokens) * static_cast<size_t>(width);
    pool.resize(static_cast<size_t>(config.cached_layers()) * layer);
    RankParts parts{.config = &config,
                    .ops = &cpu_ops(),
                    .context = {lanes.get(), scratch.get(), Compute::float32, device.get()},
                    .comm = comm.get()};
    for (size_t i = 0; i < static_cast<size_t>(config.cached_layers()); ++i) {
      float* base = pool.data() + i * layer;
      if (grouped)
        parts.kv_caches.push_back({.base = base,
                                   .block_stride = kBlockTokens * width,
                                   .block_tokens = kBlockTokens,
                                   .heads = config.kv_heads,
                                   .dim = config.head_dim});
      else
        parts.caches.push_back({.base = base,
                                .block_stride = kBlockTokens * width,
                                .block_tokens = kBlockTokens,
                                .rank = config.kv_rank,
                                .rope = config.rope});
    }
    rank = make_model_rank(parts, weights);
  }
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;

  static std::string dir(const std::string& name) {
    return FATHOM_SOURCE_DIR "/tests/golden/data/" + name;
  }

  Checkpoint checkpoint;
  ModelConfig config;
  WeightReader reader;
  ModelWeights weights;
  std::unique_ptr<Lanes> lanes = make_lanes(2);
  std::unique_ptr<Scratch> scratch = make_scratch();
  std::unique_ptr<Device> device = make_host_device();
  std::unique_ptr<Comm> comm = make_solo();
  std::vector<float> pool;
  std::unique_ptr<ModelRank> rank;
};

}  // namespace fathom
