// What did the client ask, in the OpenAI dialect? Bytes of a body become one typed request, or a
// refusal that names the field. Nothing here looks at the model's state; lengths are checked after
// encoding.
#pragma once

#include <optional>
#include <string_view>

#include "gateway/api_error.h"
#include "gateway/request.h"

namespace fathom {

struct ParseLimits {
  int32_t n_max = 8;
  int32_t prompts_max = 512;
  int32_t max_tokens_max = 131072;
  int32_t vocab = 0;  // 0: not known yet
  float temperature_default = 1;
  float top_p_default = 1;
};

template <class T>
struct Parsed {
  T request;
  std::optional<ApiError> error;
  int unknown_fields = 0;
};

Parsed<Generate> parse_chat(std::string_view body, const ParseLimits& limits);
Parsed<Generate> parse_completion(std::string_view body, const ParseLimits& limits);
Parsed<Tokenize> parse_tokenize(std::string_view body, const ParseLimits& limits);
Parsed<Detokenize> parse_detokenize(std::string_view body, const ParseLimits& limits);

}  // namespace fathom
