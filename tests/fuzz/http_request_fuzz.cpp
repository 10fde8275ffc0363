// Which bodies of the HTTP API break their parsers? None may crash, and each ends in a request
// within its bounds or in a refusal that is itself valid JSON text.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "gateway/json_text.h"
#include "gateway/openai_parse.h"
#include "gateway/routes.h"

namespace fathom {
namespace {

void check_refusal(const ApiError& error) {
  CHECK(error.status >= 400 && error.status < 500);
  CHECK(!error.message.empty());
  CHECK(is_utf8(error_body(error)));
}

void check_generate(const Parsed<Generate>& parsed, const ParseLimits& limits) {
  if (parsed.error) return check_refusal(*parsed.error);
  const Generate& r = parsed.request;
  CHECK(r.n >= 1 && r.n <= limits.n_max);
  CHECK(r.stop.size() <= 16);
  CHECK(!r.max_tokens || (*r.max_tokens >= 0 && *r.max_tokens <= limits.max_tokens_max));
  CHECK(r.sampling.temperature >= 0 && r.sampling.temperature <= 2);
  CHECK(r.sampling.top_p > 0 && r.sampling.top_p <= 1);
  CHECK(r.sampling.logprobs >= -1 && r.sampling.logprobs <= kTopLogprobsMax);
  for (const TokenId id : r.sampling.stop_tokens) CHECK(id >= 0 && id < limits.vocab);
  if (const auto* prompts = std::get_if<std::vector<PromptInput>>(&r.input)) {
    CHECK(!prompts->empty() && static_cast<int>(prompts->size()) <= limits.prompts_max);
  } else {
    CHECK(!std::get<ChatInput>(r.input).messages.empty());
  }
}

}  // namespace
}  // namespace fathom

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const ParseLimits limits{.vocab = 512};
  check_generate(parse_chat(body, limits), limits);
  check_generate(parse_completion(body, limits), limits);
  if (const auto tokenize = parse_tokenize(body, limits); tokenize.error)
    check_refusal(*tokenize.error);
  const auto detokenize = parse_detokenize(body, limits);
  if (detokenize.error) {
    check_refusal(*detokenize.error);
  } else {
    for (const TokenId id : detokenize.request.tokens) CHECK(id >= 0 && id < limits.vocab);
  }
  find_route("POST", body, body);
  return 0;
}
