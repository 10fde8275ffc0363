// How fast is one engine on this machine? `fathom bench engine` loads a checkpoint, or runs the
// fake engine, and prints prefill and decode tokens per second by prompt length and batch; see
// engine/measure.h for what is measured.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "engine/measure.h"
#include "engine/tp_engine.h"

namespace fathom {

Result<Measurement> bench_engine(const TpEngineConfig& config, const MeasurePlan& plan,
                                 const Clock& clock);

std::string measurement_table(const Measurement& measured);
std::string measurement_json(const Measurement& measured, int32_t threads);

}  // namespace fathom
