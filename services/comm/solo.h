// What is a group of one? Every collective is already done.
#pragma once

#include <memory>

#include "comm/comm.h"

namespace fathom {

std::unique_ptr<Comm> make_solo();

}  // namespace fathom
