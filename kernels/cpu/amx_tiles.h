// May this process multiply with AMX tiles, and how does a piece of work get them? amx_allowed asks
// the CPU and the operating system once. Tiles belong to a thread: every piece of work that a lane
// runs begins with an AmxTiles and gives them back when it ends (some 100 cycles), so that nothing
// of AMX is live where a thread sleeps or is switched. All eight tiles are 16 rows of 64 bytes.
#pragma once

#include <cstdint>

#if defined(__AMX_TILE__)
#include <immintrin.h>
#endif

namespace fathom {

// AMX tiles with products of bf16, enabled for this process.
bool amx_allowed();

#if defined(__AMX_TILE__)
namespace {
class AmxTiles {
 public:
  AmxTiles() {
    alignas(64) struct {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const config;
    // GCC 12 takes the load to read one pointer, and might leave the rest of it unwritten.
    asm volatile("" : : "m"(config));
    _tile_loadconfig(&config);
  }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};
}  // namespace
#endif

}  // namespace fathom
