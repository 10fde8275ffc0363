// What must a step read from memory, and how many products must it take? The floor under every
// measured figure: no program can decode faster than the weights of a step can be read, nor
// compute a prompt faster than its products. Counted from the tensors of the checkpoint, as they
// are stored; activations, which fit a cache, are not counted.
#pragma once

#include <cstdint>

#include "contract/drive.h"
#include "model/config.h"
#include "model/safetensors.h"

namespace fathom {

struct Traffic {
  double always_bytes = 0;     // weights that every step reads, the head among them
  double experts_bytes = 0;    // all routed experts of all layers
  double row_products = 0;     // multiply-adds of one row with weights, head and experts left out
  double head_products = 0;    // of one row whose logits are wanted
  double expert_products = 0;  // of one row with the experts it chooses
  double pair_products = 0;    // of one position and one it attends to, all layers
  double kv_bytes = 0;         // of one position, all layers
  int32_t experts = 0, chosen = 0;

  // `rows` sequences draw a token each, with `context` positions before it. Of the experts, those
  // that rows who choose evenly and independently are expected to meet.
  double step_bytes(int32_t rows, int32_t context) const;
  // A whole prompt whose last row alone wants logits. Two for each multiply-add.
  double prompt_flops(int32_t tokens) const;
};

Traffic model_traffic(const Checkpoint& checkpoint, const ModelConfig& config,
                      const KvLayout& layout);

}  // namespace fathom
