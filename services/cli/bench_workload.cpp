#include "cli/bench_workload.h"

#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>

#include "base/philox.h"
#include "cli/config_text.h"

namespace fathom {
namespace {

// One stream of random numbers for each purpose, so that changing one leaves the others.
enum Stream : uint64_t { kPromptLength = 1, kOutputLength, kTokens, kArrival };

int32_t draw(const LengthRange& range, uint64_t seed, uint64_t index, Stream stream) {
  const double span = range.most - range.least + 1;
  return range.least + static_cast<int32_t>(philox_uniform(seed, index, stream) * span);
}

bool parse_number(std::string_view text, int32_t& out) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), out);
  return code == std::errc() && end == text.data() + text.size() && out > 0;
}

}  // namespace

Result<LengthRange> parse_length(const std::string& text, const std::string& option) {
  LengthRange range;
  const size_t dash = text.find('-');
  const bool ok = parse_number(std::string_view(text).substr(0, dash), range.least);
  range.most = range.least;
  if (!ok ||
      (dash != std::string::npos &&
       !parse_number(std::string_view(text).substr(dash + 1), range.most)) ||
      range.most < range.least)
    return invalid("must be a length such as 128 or a range such as 64-256", option);
  return range;
}

Result<Workload> Workload::make(const BenchServeOptions& options) {
  Workload workload(options);
  if (options.lengths_file.empty()) return workload;
  std::ifstream in(options.lengths_file);
  if (!in) return Error{Code::not_found, "can not be read", options.lengths_file};
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    std::istringstream words(line);
    int32_t prompt = 0;
    int32_t output = 0;
    if (!(words >> prompt >> output) || prompt <= 0 || output <= 0)
      return invalid("each line must be a prompt length and an output length: " + line,
                     options.lengths_file);
    workload.lengths_.emplace_back(prompt, output);
  }
  if (workload.lengths_.empty()) return invalid("holds no lengths", options.lengths_file);
  return workload;
}

WorkItem Workload::item(uint64_t index, const std::string& model) const {
  WorkItem item;
  if (lengths_.empty()) {
    item.prompt_tokens = draw(options_.prompt, options_.seed, index, kPromptLength);
    item.output_tokens = draw(options_.output, options_.seed, index, kOutputLength);
  } else {
    std::tie(item.prompt_tokens, item.output_tokens) = lengths_[index % lengths_.size()];
  }
  item.body = "{\"model\":" + quoted_text(model) +
              ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"ignore_eos\":true,"
              "\"return_token_ids\":true,\"temperature\":0,\"max_tokens\":" +
              std::to_string(item.output_tokens) + ",\"prompt\":[";
  const LengthRange ids{3, options_.vocab - 1};
  for (int32_t i = 0; i < item.prompt_tokens; ++i) {
    if (i > 0) item.body += ',';
    const uint64_t draw_index = (index << 24) + static_cast<uint64_t>(i);
    item.body += std::to_string(draw(ids, options_.seed, draw_index, kTokens));
  }
  item.body += "]}";
  return item;
}

Duration Workload::gap(uint64_t index) const {
  return Duration::seconds(-std::log1p(-philox_uniform(options_.seed, index, kArrival)) /
                           options_.rate);
}

}  // namespace fathom
