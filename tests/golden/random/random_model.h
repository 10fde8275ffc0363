// Which models can a config describe besides the golden ones? Small random checkpoints of every
// family, of odd sizes and every storage type, made from a seed, with the value of each stored
// number known exactly.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/golden/checkpoint_writer.h"

namespace fathom {

struct NumberTable {
  int rows = 0, cols = 0;
  std::vector<double> v;
  double at(int r, int c) const {
    return v[static_cast<size_t>(r) * static_cast<size_t>(cols) + static_cast<size_t>(c)];
  }
};

struct RandomShape {
  std::string family;          // the model_type
  bool qkv_bias, output_bias;  // of latent attention: into the low ranks, and out
  // Of Llama and Qwen2.
  int kv_heads, head_dim;
  bool mlp_bias;
  // Of DeepSeek V2.
  std::string method;  // topk_method
  int vocab, hidden, layers, heads, q_rank /* 0: none */, kv_rank, nope, rope, value;
  int intermediate, expert_intermediate, experts, shared, chosen, groups, groups_kept, dense_layers,
      freq;
  bool normalise, tied;
  double routed_factor, eps, theta;
  std::string scaling;  // "none", "linear", "yarn", "llama3"
  double factor, original, mscale, mscale_all_dim, attention_factor /* 0: absent */;
  double low_factor, high_factor;  // of llama3
  std::string weights;             // "F32", "BF16", "F16", "F8_E4M3"
  std::string scales;              // "F32", "F8_E8M0", "BF16"; of F8_E4M3
};

inline bool grouped(const RandomShape& s) { return s.family == "llama" || s.family == "qwen2"; }

struct RandomModel {
  RandomShape shape{};
  std::map<std::string, NumberTable> tensors;  // as stored, scales applied
  TestFolder folder;
  std::string about() const;
};

// Writes the checkpoint into its folder: one file or two, aligned or not.
void make_random_model(const std::string& family, uint64_t seed, RandomModel& out);

// Its config.json.
std::string random_config_json(const RandomShape& shape);

// Logits of every position, in double precision, straight from the formulas.
std::vector<std::vector<double>> reference_logits(const RandomModel& model,
                                                  const std::vector<int32_t>& tokens);

}  // namespace fathom
