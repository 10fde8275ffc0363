// Does the sampler keep the candidates that a reference kept, with its probabilities? The logits
// come from the expected outputs of the tiny V3 checkpoint, the kept sets from its sampling.json.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "kernels/sample.h"

namespace fathom {
namespace {

namespace json = boost::json;
const std::string kCase = FATHOM_SOURCE_DIR "/tests/golden/data/v3-tiny-bf16/";

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Row `row` of a float32 tensor [rows, width] of a safetensors file.
std::vector<float> tensor_row(const std::string& file, const std::string& name, int64_t row) {
  uint64_t header = 0;
  std::memcpy(&header, file.data(), 8);
  const json::value parsed = json::parse(file.substr(8, header));
  const json::object& tensor = parsed.at(name).as_object();
  EXPECT_EQ(tensor.at("dtype").as_string(), "F32");
  const auto width = tensor.at("shape").as_array().at(1).to_number<int64_t>();
  const auto begin = tensor.at("data_offsets").as_array().at(0).to_number<int64_t>();
  std::vector<float> values(static_cast<size_t>(width));
  std::memcpy(values.data(), file.data() + 8 + header + begin + row * width * 4,
              static_cast<size_t>(width) * 4);
  return values;
}

// The tokens before row `row` of a prompt's generation: prompt, then what was emitted.
std::vector<TokenCount> counts_before(const json::value& cases, const std::string& prompt,
                                      int64_t row) {
  std::map<TokenId, int32_t> in_output;
  for (const json::value& p : cases.at("prompts").as_array()) {
    if (p.at("id").as_string() != prompt) continue;
    for (const json::value& t : p.at("tokens").as_array()) in_output[t.to_number<TokenId>()] += 0;
    for (int64_t i = 0; i < row; ++i)
      ++in_output[p.at("greedy").as_array().at(static_cast<size_t>(i)).to_number<TokenId>()];
  }
  EXPECT_FALSE(in_output.empty());
  std::vector<TokenCount> counts;
  for (const auto& [token, n] : in_output) counts.push_back({token, n});
  return counts;
}

Sampling sampling_of(const json::object& p) {
  Sampling s;
  const auto get = [&](const char* key, auto& to) {
    if (const auto* v = p.if_contains(key))
      to = v->to_number<std::remove_reference_t<decltype(to)>>();
  };
  get("temperature", s.temperature);
  get("top_p", s.top_p);
  get("top_k", s.top_k);
  get("min_p", s.min_p);
  get("repetition_penalty", s.repetition_penalty);
  return s;
}

TEST(SamplerGolden, candidates_and_probabilities_equal_the_reference) {
  const json::value golden = json::parse(read(kCase + "sampling.json"));
  const json::value cases = json::parse(read(kCase + "cases.json"));
  const std::string tensors = read(kCase + "expected.safetensors");
  Sampler sampler;
  ASSERT_GE(golden.at("cases").as_array().size(), 32u);
  for (const json::value& c : golden.at("cases").as_array()) {
    const std::string name(c.at("logits").as_array().at(0).as_string());
    const auto row = c.at("logits").as_array().at(1).to_number<int64_t>();
    SCOPED_TRACE(name + ' ' + std::to_string(row) + ' ' + json::serialize(c.at("params")));
    const auto logits = tensor_row(tensors, name, row);
    const Sampling sampling = sampling_of(c.at("params").as_object());
    const auto counts = counts_before(cases, name.substr(0, name.find('.')), row);
    const auto result =
        sampler.candidates({.logits = logits, .sampling = &sampling, .counts = counts});
    ASSERT_TRUE(result.ok());
    const auto kept = *result;
    ASSERT_EQ(kept.size(), c.at("n_kept").to_number<size_t>());
    const json::array& ids = c.at("ids").as_array();
    for (size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(kept[i].token, ids[i].to_number<TokenId>()) << i;
      EXPECT_NEAR(kept[i].probability, c.at("probs").as_array()[i].to_number<double>(), 2e-6) << i;
    }
  }
}

}  // namespace
}  // namespace fathom
