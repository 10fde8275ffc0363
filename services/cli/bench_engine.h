// How fast is one engine on this machine? `fathom bench engine` loads a checkpoint, or runs the
// fake engine, and prints prefill and decode tokens per second by prompt length and batch; see
// engine/measure.h for what is measured. Beside each figure stands which share of the machine's
// limit it is, and the limits are measured just after (their buffers are none of the engine's
// memory): memory bandwidth for decoding (model/traffic.h counts what a step reads), products of
// the compute type for prompts.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "engine/measure.h"
#include "engine/tp_engine.h"
#include "kernels/cpu/limits.h"
#include "model/traffic.h"

namespace fathom {

struct EngineBench {
  Measurement measured;
  Traffic traffic;
  MachineLimits limits;
  int32_t threads = 0;
  bool on_gpu = false;

  // What the step had to read, over the bandwidth times what it took; likewise of a prompt's
  // products. 1 is the limit. A step of several drafts is judged by its rows.
  double share_of_limit(const DecodeFigure& figure) const;
  double share_of_limit(const PrefillFigure& figure) const;
};

// `threads` in all, for the limits; config says how many a rank has.
Result<EngineBench> bench_engine(const TpEngineConfig& config, const MeasurePlan& plan,
                                 int32_t threads, const Clock& clock);

std::string bench_engine_table(const EngineBench& bench);
std::string bench_engine_json(const EngineBench& bench);

}  // namespace fathom
