// How does an arena grow under live pointers? By another block; the blocks stand in a row of
// offsets, and reset replaces them by one block of their whole size. A mark is an offset in that
// row.
#include "kernels/cpu/scratch.h"

#include <algorithm>
#include <new>
#include <vector>

#include "base/check.h"
#include "kernels/cpu/host_device.h"

namespace fathom {
namespace {

constexpr size_t kAlign = 256;
constexpr size_t kFirstBlock = size_t{1} << 20;

struct Release {
  Device* device;
  void operator()(char* p) const { device->release(p); }
};

struct Block {
  std::unique_ptr<char, Release> memory;
  size_t begin, size;  // offsets [begin, begin + size)
};

class Arena final : public Scratch {
 public:
  explicit Arena(std::unique_ptr<Device> own) : own_(std::move(own)), device_(*own_) {}
  explicit Arena(Device& device) : device_(device) {}

  void* take(size_t bytes) override {
    const size_t size = (std::max<size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign;
    while (current_ < blocks_.size()) {
      const Block& block = blocks_[current_];
      at_ = std::max(at_, block.begin);
      if (at_ + size <= block.begin + block.size) {
        void* taken = block.memory.get() + (at_ - block.begin);
        at_ += size;
        return taken;
      }
      ++current_;
    }
    const size_t begin = blocks_.empty() ? 0 : blocks_.back().begin + blocks_.back().size;
    blocks_.push_back(allocate(begin, std::max({size, kFirstBlock, begin})));
    at_ = begin + size;
    return blocks_.back().memory.get();
  }

  void reset() override {
    if (blocks_.size() > 1) {
      const size_t whole = blocks_.back().begin + blocks_.back().size;
      blocks_.clear();
      blocks_.push_back(allocate(0, whole));
    }
    current_ = 0;
    at_ = 0;
  }

  size_t mark() const override { return at_; }
  void rewind(size_t mark) override {
    CHECK(mark <= at_);
    at_ = mark;
    while (current_ > 0 && (current_ == blocks_.size() || blocks_[current_].begin > mark))
      --current_;
  }

 private:
  Block allocate(size_t begin, size_t size) {
    auto* memory = static_cast<char*>(device_.allocate(size));
    if (!memory) throw std::bad_alloc();
    return {{memory, {&device_}}, begin, size};
  }

  std::unique_ptr<Device> own_;
  Device& device_;
  std::vector<Block> blocks_;
  size_t current_ = 0;
  size_t at_ = 0;
};

}  // namespace

std::unique_ptr<Scratch> make_scratch() { return std::make_unique<Arena>(make_host_device()); }
std::unique_ptr<Scratch> make_scratch(Device& device) { return std::make_unique<Arena>(device); }

}  // namespace fathom
