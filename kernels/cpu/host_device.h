// What is a device when operations run on this machine's cores? Its memory, and an order of work
// that is the caller's own.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace fathom {

std::unique_ptr<Device> make_host_device();

}  // namespace fathom
