// Where do activations live between operations? In memory of the rank's device that grows to the
// largest step seen and is then kept, so a step no larger than an earlier one allocates nothing.
#pragma once

#include <algorithm>
#include <new>
#include <utility>

#include "kernels/device.h"
#include "kernels/ops.h"
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
  QuantisedRows codes = {};  // of the same numbers, where products are taken of those
};

// What feeds products, in the type the backend wants it (Ops::product_input), and as codes where it
// wants those too.
class ProductInput {
 public:
  ProductInput(Device& device, DType dtype, bool quantised = false)
      : dtype_(dtype), quantised_(quantised), bytes_(device), codes_(device), scales_(device) {}
  void at_least(int64_t rows, int64_t width) {
    bytes_.at_least(rows * width * dtype_bytes(dtype_));
    if (!quantised_) return;
    scale_stride_ = padded(rows, 128);
    codes_.at_least(rows * padded(width, 16));
    scales_.at_least(padded(width, kScaleBlock) / kScaleBlock * scale_stride_);
  }
  RowsView rows(int64_t width) const {
    RowsView out{bytes_.data(), dtype_, width};
    if (quantised_) out.codes = {codes_.data(), padded(width, 16), scales_.data(), scale_stride_};
    return out;
  }

 private:
  static int64_t padded(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

  DType dtype_;
  bool quantised_;
  int64_t scale_stride_ = 0;
  Buffer<char> bytes_;
  Buffer<uint8_t> codes_;
  Buffer<float> scales_;
};

}  // namespace fathom
