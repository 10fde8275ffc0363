// How does the public service look on the wire? Field for field as in net/inference_service.h.
// Private to net/.
#pragma once

#include "base/result.h"
#include "inference.pb.h"
#include "net/inference_service.h"

namespace fathom::wire {

// What a client sent; only its shape is checked here, values are the handler's affair.
Result<rpc::ChatRequest> from_wire(const v1::ChatRequest& from);
Result<rpc::CompleteRequest> from_wire(const v1::CompleteRequest& from);
Result<rpc::TokenizeRequest> from_wire(const v1::TokenizeRequest& from);

void to_wire(const rpc::ChatEvent& from, v1::ChatEvent& to);
void to_wire(const rpc::CompleteEvent& from, v1::CompleteEvent& to);
void to_wire(const rpc::TokenizeResponse& from, v1::TokenizeResponse& to);
void to_wire(const std::vector<rpc::Model>& from, v1::ListModelsResponse& to);

}  // namespace fathom::wire
