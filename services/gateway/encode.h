// Which token ids does a request stand for, and does it fit? The last step before the router: after
// it a request has prompts, stop tokens, a length and a seed, and can only fail for want of room or
// workers.
#pragma once

#include <optional>

#include "gateway/api_error.h"
#include "gateway/request.h"
#include "gateway/served_model.h"

namespace fathom {

struct EncodeLimits {
  int32_t context_max = 0;
  int32_t vocab = 0;  // 0: not known
  int32_t max_tokens_default = 4096;
  int64_t unix_seconds = 0;  // for chat templates that write the date
};

// `random_seed` is used where the client gave none.
std::optional<ApiError> encode(const ServedModel& model, const EncodeLimits& limits,
                               uint64_t random_seed, Generate& request);

// The prompt ids of /tokenize, for a chat those of the same chat under encode(); the time is for
// chat templates that write the date.
std::optional<ApiError> encode_input(const ServedModel& model, Tokenize request,
                                     int64_t unix_seconds, std::vector<TokenId>& out);

}  // namespace fathom
