// How do gRPC clients reach the same model? The public Inference service, rendered over the same
// requests and generations as HTTP.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "gateway/served.h"

namespace fathom {

class InferenceFront {
 public:
  virtual ~InferenceFront() = default;
  virtual std::string address() const = 0;
  virtual void drain() = 0;  // the health service says NOT_SERVING
  virtual void stop() = 0;   // ends what runs; afterwards no call reaches `served`
};

Result<std::unique_ptr<InferenceFront>> serve_inference(const std::string& listen, Served& served,
                                                        HttpThreads& threads);

}  // namespace fathom
