// Where are one rank's weights? Views into the mapped checkpoint: nothing is copied but what a
// kernel could not read in place (scale tables of a type other than float32, tensors the file left
// unaligned). Names, shapes and types are checked against the config, so the forward may trust
// every view.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "kernels/ops.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "model/shard.h"

namespace fathom {

struct DenseWeights {
  Weight gate, up, down;  // gate.data is null where a layer has no such MLP
};

struct FeedForwardWeights {
  DenseWeights dense;                    // the dense MLP, or the shared experts of an expert layer
  Weight router;                         // null data in a dense layer
  Weight router_bias;                    // float32; null data in families without one
  std::vector<ExpertWeights> experts;    // this rank's
  Weight gate_bias, up_bias, down_bias;  // of the dense MLP; float32, null data without
};

struct MlaWeights {
  Weight q_a, q_a_norm;  // null data when q_rank is 0
  Weight q_b;            // or q_proj
  Weight kv_a, kv_a_norm, kv_b, o;
  Weight q_a_bias, kv_a_bias, o_bias;  // float32; null data where a model has none
};

struct GqaWeights {
  Weight q, o;
  Weight k, v;                // of this rank's run of key-value heads; no rows when it has none
  int32_t first_kv_head = 0;  // of that run
  Weight q_bias, k_bias, v_bias, o_bias;  // float32; null data where a model has none
};

// One layer of any family.
struct LayerWeights {
  Weight input_norm, post_norm;
  std::variant<MlaWeights, GqaWeights> attention;  // all layers of a model have the same kind
  FeedForwardWeights feed_forward;
};

// What stands before and after the layers of every family.
struct EndWeights {
  Weight embed;  // [vocab, hidden]
  Weight final_norm;
  Weight lm_head;  // [vocab / ranks, hidden]
};

// The multi-token-prediction module: one more layer, fed with a hidden state and the token after
// it. Embedding and vocabulary are the model's own: published checkpoints repeat them here.
struct MtpWeights {
  Weight token_norm, hidden_norm;  // enorm, hnorm
  Weight join;                     // eh_proj: [token | hidden] to one width
  LayerWeights layer;
  Weight head_norm;  // shared_head.norm
};

struct ModelWeights {
  EndWeights ends;
  std::vector<LayerWeights> layers;
  std::optional<MtpWeights> mtp;  // where the config has draft_layers; the first of them
};

// Owns what had to be copied; keep it and the checkpoint as long as the weights are used.
class WeightReader {
 public:
  WeightReader(const Checkpoint& checkpoint, Shard shard) : WeightReader(checkpoint, shard, true) {}
  // Reads no tensor: its weights are good for extents() alone, which prefault() wants.
  static WeightReader lister(const Checkpoint& checkpoint, Shard shard) {
    return WeightReader(checkpoint, shard, false);
  }
  WeightReader(const WeightReader&) = delete;
  WeightReader& operator=(const WeightReader&) = delete;

  // This rank's part of a matrix that is [rows, cols] in the checkpoint, as the shard table says.
  Result<Weight> matrix(const std::string& name, int32_t rows, int32_t cols);
  // Rows [begin, begin + count) of such a matrix, for what a process divides.
  Result<Weight> rows_of(const std::string& name, int32_t rows, int32_t cols, int32_t begin,
                         int32_t count);
  // A norm's or bias's values, as one row.
  Result<Weight> vector(const std::string& name, int32_t width);
  // The same widened to float32, exactly; a copy where it is stored otherwise.
  Result<Weight> wide_vector(const std::string& name, int32_t width);
  // This rank's part of one that is divided like the rows of its matrix.
  Result<Weight> wide_part(const std::string& name, int32_t width);
  // Size of all parts handed out.
  uint64_t bytes() const;
  // Where in the checkpoint they lie, and their scales.
  std::vector<std::span<const std::byte>> extents() const;

 private:
  WeightReader(const Checkpoint& checkpoint, Shard shard, bool reads)
      : checkpoint_(checkpoint), shard_(shard), reads_(reads) {}
  Result<Weight> view(const std::string& name, const std::vector<int64_t>& shape);
  Status attach_scales(Weight& weight, const StoredTensor& tensor);
  Error wrong(const StoredTensor& tensor, std::string what) const;
  const std::byte* aligned(const StoredTensor& tensor);

  const Checkpoint& checkpoint_;
  Shard shard_;
  bool reads_;
  std::deque<std::vector<float>> scales_;
  std::deque<std::vector<uint64_t>> copies_;
  std::vector<Weight> parts_;
  std::vector<std::span<const std::byte>> scale_tables_;  // as stored
};

// All weights of one rank. Tensors the forward does not use are ignored.
Result<ModelWeights> read_model_weights(const ModelConfig& config, Shard shard,
                                        WeightReader& reader);

// What families name differently: a layer's attention, and what comes after it. `prefix` is the
// layer's, with its dot.
Status read_deepseek_layer(const ModelConfig& config, Shard shard, WeightReader& reader,
                           int32_t index, const std::string& prefix, LayerWeights& out);
Status read_llama_layer(const ModelConfig& config, Shard shard, WeightReader& reader,
                        const std::string& prefix, LayerWeights& out);

// prefix + "gate_proj.weight", up, down.
Result<DenseWeights> read_mlp(WeightReader& reader, const std::string& prefix, int32_t hidden,
                              int32_t width);

}  // namespace fathom
