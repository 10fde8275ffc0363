// Where do temporary rows live? In an arena that grows while a step runs and is one piece from the
// next reset on, so steps of a size seen before allocate nothing.
#pragma once

#include <memory>

#include "kernels/ops.h"

namespace fathom {

std::unique_ptr<Scratch> make_scratch();
// In a device's memory, in the order of its operations; the device must outlive it.
std::unique_ptr<Scratch> make_scratch(Device& device);

}  // namespace fathom
