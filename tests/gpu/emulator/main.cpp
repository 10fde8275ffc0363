// How does a test program get its GPUs? --gpus N (1) of them, with --multiprocessors N (16) each:
// the fewer, the more a thread block has to do. --seed S (0) orders what CUDA leaves open
// (schedule.h),
// --races 1 (0) watches for races (races.h). All other arguments are GoogleTest's.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/gpu/emulator/machine.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  emulated::MachineConfig config;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--gpus") {
      config.gpus = std::atoi(argv[i + 1]);
    } else if (name == "--multiprocessors") {
      config.multiprocessors = std::atoi(argv[i + 1]);
    } else if (name == "--seed") {
      config.seed = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (name == "--races") {
      config.races = std::atoi(argv[i + 1]) != 0;
    } else {
      std::fprintf(stderr, "%s is not known; --gpus, --multiprocessors, --seed and --races are\n",
                   argv[i]);
      return 2;
    }
  }
  emulated::machine().set_up(config);
  return RUN_ALL_TESTS();
}
