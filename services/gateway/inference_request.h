// What does a gRPC client ask? The plain values of the public service become the same typed request
// that HTTP bodies become, under the same bounds.
#pragma once

#include <optional>

#include "gateway/api_error.h"
#include "gateway/openai_parse.h"
#include "gateway/request.h"
#include "net/inference_service.h"

namespace fathom {

std::optional<ApiError> read_rpc(const rpc::ChatRequest& in, const ParseLimits& limits,
                                 Generate& out);
std::optional<ApiError> read_rpc(const rpc::CompleteRequest& in, const ParseLimits& limits,
                                 Generate& out);
std::optional<ApiError> read_rpc(const rpc::TokenizeRequest& in, Tokenize& out);

}  // namespace fathom
