// Do two workers serve the same model? Workers on copies of one checkpoint agree, and any change of
// the config, of a tensor's name, type or shape, or of its first, middle or last bytes gives
// another digest. It reads a sample (at most 192 bytes a tensor), so 671 B parameters cost seconds,
// not a read of every byte.
#pragma once

#include <string>
#include <string_view>

#include "model/safetensors.h"

namespace fathom {

// 32 hexadecimal digits of XXH3-128. How the tensors are spread over files makes no difference.
std::string model_digest(std::string_view config_json, const Checkpoint& checkpoint);

}  // namespace fathom
