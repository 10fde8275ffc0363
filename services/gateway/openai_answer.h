// How does an OpenAI client read an answer over HTTP? As server-sent events, one chunk per step, or
// as one JSON object at the end; chat and completions differ only in the names of fields.
#pragma once

#include <memory>

#include "base/clock.h"
#include "gateway/answer.h"
#include "net/http_server.h"
#include "text/tokenizer.h"

namespace fathom {

struct OpenAiContext {
  std::shared_ptr<HttpExchange> exchange;
  const Generate& request;     // outlives the answer
  const Tokenizer* tokenizer;  // null: no text
  AnswerHead head;
  const Clock& clock;
  Instant received;
};

std::unique_ptr<Answer> make_stream_answer(OpenAiContext context);
std::unique_ptr<Answer> make_whole_answer(OpenAiContext context);

// The headers that every answer of this surface carries.
void add_openai_headers(ServerResponse& response, const Clock& clock, Instant received);

}  // namespace fathom
