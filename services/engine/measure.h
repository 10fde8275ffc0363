// How fast is an engine? Prefill: tokens per second of one prompt of each length. Decode: tokens
// per second of steady steps of each batch. The clock is given, and every figure is the median of
// `repeats` runs after one that does not count, so a first-touch page or a cold cache is not in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/engine.h"

namespace fathom {

struct MeasurePlan {
  std::vector<int32_t> prompt_tokens = {16, 128, 512};
  std::vector<int32_t> batches = {1, 4, 16};
  int32_t chunk = 512;          // prompt tokens of one step
  int32_t decode_context = 64;  // prompt tokens of every decoding sequence
  int32_t decode_steps = 16;
  int32_t repeats = 3;
  // Decoding is measured once more with so many guessed tokens a row; the engine must draft.
  int32_t drafts = 0;
};

struct PrefillFigure {
  int32_t prompt_tokens = 0;
  double seconds = 0;  // until the first token is drawn
  double tokens_per_second = 0;
};

struct DecodeFigure {
  int32_t batch = 0;
  int32_t context = 0;
  int32_t drafts = 0;
  double step_ms = 0;
  double acceptance = 0;         // right drafts over verified ones
  double tokens_per_second = 0;  // of the whole batch
};

struct MemoryFigure {
  double load_seconds = 0;
  uint64_t kv_bytes = 0;    // of the whole pool; memory it takes once it is written
  uint64_t peak_bytes = 0;  // resident, of the process so far, mapped weights included
};

struct Measurement {
  EngineInfo engine;
  MemoryFigure memory;
  std::vector<PrefillFigure> prefill;
  std::vector<DecodeFigure> decode;
};

// Figures that do not fit the engine's blocks or context are left out. Prompts are made from a
// fixed seed.
Result<Measurement> measure_engine(Engine& engine, const MeasurePlan& plan, const Clock& clock);

}  // namespace fathom
