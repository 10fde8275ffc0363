// How sure is a score? Intervals of 95 % for a share and for the difference of two configurations
// that answered the same questions. Both keep their promise for few questions and for shares near
// 0 or 1, where the textbook's normal interval does not.
#pragma once

#include <cstdint>

namespace fathom {

struct Interval {
  double low = 0;
  double high = 1;
};

// Wilson's score interval; 0 to 1 when nothing was asked.
Interval wilson_interval(int64_t right, int64_t asked);

struct PairedDifference {
  double difference = 0;  // share right now minus share right before
  Interval interval{-1, 1};
  double p = 1;  // McNemar's exact test, two-sided: how likely so uneven a change is by chance
};

// Of `pairs` questions answered twice, `lost` were right only before and `gained` only now. The
// interval is Agresti and Min's: Wald's after half a question more in each of the four cells.
PairedDifference paired_difference(int64_t lost, int64_t gained, int64_t pairs);

}  // namespace fathom
