// Why can no GPU be used here, said so that a person knows what to do? The runtime's own words for
// a machine without any driver are "CUDA driver version is insufficient for CUDA runtime version",
// as if an update would help; its two version numbers tell the cases apart. Host code only: tested
// without a GPU.
#pragma once

#include <string>

namespace fathom::cuda {

// What the runtime says when it is asked for GPUs. Versions as CUDA counts them: 1000 * major + 10
// * minor.
struct DriverFindings {
  int driver_version = 0;   // the newest CUDA the driver knows; 0: there is no driver
  int runtime_version = 0;  // of the CUDA this program was built with
  int gpus = 0;             // that the driver shows, of any kind
  std::string error;        // the runtime's words, when it could not count them; else empty
};

// "13.0" of 13000.
inline std::string cuda_version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// One line. For findings without a GPU of the kind this program has code for.
inline std::string absence_text(const DriverFindings& found) {
  if (found.driver_version == 0)
    return "no NVIDIA driver found: libcuda.so.1 could not be loaded, which the driver of a GPU "
           "installs";
  if (found.driver_version / 1000 < found.runtime_version / 1000)
    return "the NVIDIA driver is too old: it knows CUDA " +
           cuda_version_text(found.driver_version) + ", this program was built with CUDA " +
           cuda_version_text(found.runtime_version);
  if (!found.error.empty()) return "the NVIDIA driver offers no GPU: " + found.error;
  if (found.gpus == 0) return "the NVIDIA driver offers no GPU";
  return "no GPU here has compute capability 9.0 (Hopper)";
}

}  // namespace fathom::cuda
