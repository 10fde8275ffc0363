#include "golden_case.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "golden_tensors.h"
#include "model/config.h"

namespace fathom {
namespace {

namespace json = boost::json;

}  // namespace

GoldenCase load_golden_case(const std::string& name) {
  GoldenCase out{
      .name = name, .dir = FATHOM_SOURCE_DIR "/tests/golden/data/" + name, .prompts = {}};
  const GoldenTensors expected(out.dir + "/expected.safetensors");
  const json::value root = json::parse(read_text_file(out.dir + "/cases.json").value());
  for (const auto& p : root.at("prompts").as_array()) {
    GoldenPrompt prompt;
    prompt.id = std::string(p.at("id").as_string());
    prompt.tokens = json::value_to<std::vector<TokenId>>(p.at("tokens"));
    prompt.positions = expected.flat<int32_t>(prompt.id + ".logit_positions");
    prompt.logits = expected.rows(prompt.id + ".logits");
    prompt.greedy = expected.flat<TokenId>(prompt.id + ".greedy");
    prompt.greedy_logits = expected.rows(prompt.id + ".gen_logits");
    CHECK(prompt.logits.size() == prompt.positions.size() && !prompt.greedy.empty());
    out.prompts.push_back(std::move(prompt));
  }
  CHECK(!out.prompts.empty());
  return out;
}

std::vector<GoldenDrafts> load_golden_drafts(const GoldenCase& golden) {
  const GoldenTensors expected(golden.dir + "/expected.safetensors");
  std::vector<GoldenDrafts> out;
  for (const GoldenPrompt& p : golden.prompts) {
    const bool pairs = p.tokens.size() > 1;
    out.push_back(
        {.positions =
             pairs ? expected.flat<int32_t>(p.id + ".mtp_logit_positions") : std::vector<int32_t>(),
         .logits = pairs ? expected.rows(p.id + ".mtp_logits") : std::vector<std::vector<float>>(),
         .greedy_logits = expected.rows(p.id + ".mtp_gen_logits"),
         .chain = expected.flat<TokenId>(p.id + ".mtp_chain_tokens"),
         .chain_logits = expected.rows(p.id + ".mtp_chain_logits")});
  }
  return out;
}

std::vector<GoldenPrompt> load_golden_chats(const std::string& name) {
  const std::string file = FATHOM_SOURCE_DIR "/tests/golden/data/" + name + "/e2e.json";
  const json::value root = json::parse(read_text_file(file).value());
  std::vector<GoldenPrompt> out;
  for (const auto& chat : root.at("cases").as_array()) {
    GoldenPrompt prompt;
    prompt.tokens = json::value_to<std::vector<TokenId>>(chat.at("prompt_ids"));
    prompt.greedy = json::value_to<std::vector<TokenId>>(chat.at("greedy_ids"));
    out.push_back(std::move(prompt));
  }
  CHECK(!out.empty());
  return out;
}

void LogitError::add(const std::vector<float>& got, const std::vector<float>& want) {
  CHECK(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!(d <= max_abs)) max_abs = d;  // a NaN counts as the largest
    square_sum += d * d;
    reference_square_sum += static_cast<double>(want[i]) * want[i];
  }
}

namespace {

std::vector<double> log_softmax(const std::vector<float>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - top);
  std::vector<double> out;
  for (const float x : logits) out.push_back(x - top - std::log(sum));
  return out;
}

}  // namespace

double kl_divergence(const std::vector<float>& want, const std::vector<float>& got) {
  const auto p = log_softmax(want), q = log_softmax(got);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += std::exp(p[i]) * (p[i] - q[i]);
  return sum;
}

size_t argmax(const std::vector<float>& logits) {
  return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double LogitError::rel_rms() const { return std::sqrt(square_sum / reference_square_sum); }

}  // namespace fathom
