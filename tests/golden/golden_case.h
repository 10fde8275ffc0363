// What does a folder of golden data hold? Prompts, the reference's logits at some positions, and
// the 32 greedy tokens with the logits that chose them.
#pragma once

#include <string>
#include <vector>

#include "base/ids.h"

namespace fathom {

struct GoldenPrompt {
  std::string id;
  std::vector<TokenId> tokens;
  std::vector<int32_t> positions;          // whose logits are stored
  std::vector<std::vector<float>> logits;  // one row each
  std::vector<TokenId> greedy;
  std::vector<std::vector<float>> greedy_logits;  // the row that chose each
};

// What the multi-token-prediction module says beside.
struct GoldenDrafts {
  std::vector<int32_t> positions;          // j: hidden state j with token j + 1
  std::vector<std::vector<float>> logits;  // about token j + 2
  // Hidden state of the last prompt position + s with greedy token s.
  std::vector<std::vector<float>> greedy_logits;
  // Guesses chained from the prompt's end.
  std::vector<TokenId> chain;
  std::vector<std::vector<float>> chain_logits;
};

struct GoldenCase {
  std::string name;
  std::string dir;
  std::vector<GoldenPrompt> prompts;
};

GoldenCase load_golden_case(const std::string& name);
// One for each prompt of the case.
std::vector<GoldenDrafts> load_golden_drafts(const GoldenCase& golden);

// The chats of a case's e2e.json: prompt ids and the greedy ids that follow.
std::vector<GoldenPrompt> load_golden_chats(const std::string& name);

// Largest difference, and root-mean-square difference over that of the reference.
struct LogitError {
  double max_abs = 0;
  double square_sum = 0, reference_square_sum = 0;
  double rel_rms() const;
  void add(const std::vector<float>& got, const std::vector<float>& want);
};

// Of the softmax of two rows of logits: KL(want | got), and the likeliest token.
double kl_divergence(const std::vector<float>& want, const std::vector<float>& got);
size_t argmax(const std::vector<float>& logits);

}  // namespace fathom
