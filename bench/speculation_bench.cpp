// links: fathom_engine
// What is guessing ahead worth on this machine? Decodes one stream plainly and with 1 to 3 guessed
// tokens, on one thread, and counts that thread's own processor time, so that neighbours on a
// shared machine disturb little. Usage: speculation_bench DIR [batch] [context], with a checkpoint
// that has a multi-token-prediction module (bench/make_drafty_checkpoint.py writes one whose
// guesses are good).
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "engine/measure.h"
#include "engine/tp_engine.h"

namespace {

struct ProcessorClock final : fathom::Clock {
  fathom::Instant now() const override {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return {t.tv_sec * 1'000'000'000 + t.tv_nsec};
  }
  int64_t unix_seconds() const override { return 0; }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: speculation_bench DIR [batch] [context]\n");
    return 2;
  }
  const int32_t batch = argc > 2 ? std::atoi(argv[2]) : 1;
  const int32_t context = argc > 3 ? std::atoi(argv[3]) : 64;
  const auto engine = fathom::make_tp_engine(
      {.model_dir = argv[1], .compute = fathom::Compute::bfloat16, .speculative_tokens = 3});
  if (!engine.ok()) {
    std::fprintf(stderr, "%s\n", engine.error().text().c_str());
    return 1;
  }
  std::printf("%8s %10s %12s %14s %8s\n", "drafts", "step ms", "right", "tokens/cpu-s", "ratio");
  for (int32_t drafts = 1; drafts <= 3; ++drafts) {
    const auto got = fathom::measure_engine(**engine,
                                            {.prompt_tokens = {},
                                             .batches = {batch},
                                             .decode_context = context,
                                             .decode_steps = 4,
                                             .repeats = 15,
                                             .drafts = drafts},
                                            ProcessorClock());
    if (!got.ok() || got->decode.size() != 2) {
      std::fprintf(stderr, "%s\n",
                   got.ok() ? "too many sequences for the pool" : got.error().text().c_str());
      return 1;
    }
    for (const auto& figure : got->decode)
      std::printf("%8d %10.1f %10.1f %% %14.2f %8.2f\n", figure.drafts, figure.step_ms,
                  100 * figure.acceptance, figure.tokens_per_second,
                  figure.tokens_per_second / got->decode[0].tokens_per_second);
  }
  return 0;
}
