// Where do activations live between operations? In memory of the rank's device that grows to the
// largest step seen and is then kept, so a step no larger than an earlier one allocates nothing.
#pragma once

#include <algorithm>
#include <new>
#include <utility>

#include "kernels/device.h"
#include "kernels/tensor.h"

namespace fathom {

template <class T>
class Buffer {
 public:
  explicit Buffer(Device& device) : device_(&device) {}
  Buffer(Buffer&& other) noexcept
      : device_(other.device_),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() { device_->release(data_); }

  // Room for `count` values; what was there is lost when it grows. Throws std::bad_alloc.
  void at_least(int64_t count) {
    if (count <= size_) return;
    device_->release(std::exchange(data_, nullptr));
    size_ = 0;
    data_ = static_cast<T*>(device_->allocate(static_cast<size_t>(count) * sizeof(T)));
    if (data_ == nullptr) throw std::bad_alloc();
    size_ = count;
  }
  T* data() const { return data_; }
  Device& device() const { return *device_; }

 private:
  Device* device_;
  T* data_ = nullptr;
  int64_t size_ = 0;
};

// Rows of numbers on the device, `stride` elements apart.
struct RowsView {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t stride = 0;
};

// What feeds products, in the type the backend wants it (Ops::product_input).
class ProductInput {
 public:
  ProductInput(Device& device, DType dtype) : dtype_(dtype), bytes_(device) {}
  void at_least(int64_t count) { bytes_.at_least(count * dtype_bytes(dtype_)); }
  RowsView rows(int64_t stride) const { return {bytes_.data(), dtype_, stride}; }

 private:
  DType dtype_;
  Buffer<char> bytes_;
};

}  // namespace fathom
