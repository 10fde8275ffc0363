// How does one rank agree with itself? A gather copies, the rest does nothing.
#include "comm/solo.h"

#include <algorithm>

#include "base/check.h"

namespace fathom {
namespace {

class Solo final : public Comm {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Status all_reduce(std::span<float>) override { return {}; }
  Status all_gather(std::span<const float> data, std::span<float> out) override {
    CHECK(out.size() == data.size());
    if (data.data() != out.data()) std::copy(data.begin(), data.end(), out.begin());
    return {};
  }
  Status broadcast(std::span<std::byte>, int root) override {
    CHECK(root == 0);
    return {};
  }
  Status barrier() override { return {}; }
};

}  // namespace

std::unique_ptr<Comm> make_solo() { return std::make_unique<Solo>(); }

}  // namespace fathom
