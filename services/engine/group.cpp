// How do the ranks of a group find each other?
#include "engine/model_ranks.h"

namespace fathom {
namespace {

class Solo final : public Comm {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Status all_reduce(std::span<float>) override { return {}; }
  Status all_gather(std::span<const float> data, std::span<float> out) override {
    if (data.data() != out.data()) std::copy(data.begin(), data.end(), out.begin());
    return {};
  }
  Status broadcast(std::span<std::byte>, int) override { return {}; }
  Status barrier() override { return {}; }
};

}  // namespace

Result<std::vector<std::unique_ptr<Comm>>> connect_group(const TpEngineConfig& config) {
  CHECK(config.tensor_parallel == 1);
  std::vector<std::unique_ptr<Comm>> out;
  out.push_back(std::make_unique<Solo>());
  return out;
}

}  // namespace fathom
