// Can a server break the program that asks it? The input is a body: read whole, as an error, and as
// a stream of events cut after every byte. An answer that is accepted has an end, and its text can
// be shown and judged.
#include <algorithm>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "cli/eval_answer.h"
#include "cli/eval_check.h"
#include "cli/eval_text.h"
#include "cli/event_stream.h"

namespace {

using namespace fathom;

void judge(EvalAnswerReader& reader) {
  const auto answer = reader.take();
  if (!answer.ok()) {
    CHECK(!answer.error().message.empty(), "refused without a reason");
    return;
  }
  CHECK(!answer->finish_reason.empty(), "an answer without an end");
  CHECK(same_text(*answer, *answer), "an answer differs from itself");
  const std::string shown = shortened(answer->content, 50);
  CHECK(std::ranges::none_of(shown, [](char c) { return c >= 0 && c < ' '; }),
        "a control character is shown");
  const size_t at = first_difference(answer->content, answer->reasoning);
  excerpt(answer->content, at, 9);
  for (const auto kind : {EvalCheckKind::number, EvalCheckKind::contains, EvalCheckKind::exact,
                          EvalCheckKind::json, EvalCheckKind::call})
    is_right({.kind = kind, .text = answer->content, .value = {}}, *answer);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  EvalAnswerReader whole;
  whole.whole(text);
  judge(whole);
  eval_error_text(400, text);
  EvalAnswerReader streamed;
  EventStream events;
  for (size_t i = 0; i < size; ++i)
    events.add(text.substr(i, 1), [&](std::string_view payload) { streamed.event(payload); });
  judge(streamed);
  return 0;
}
