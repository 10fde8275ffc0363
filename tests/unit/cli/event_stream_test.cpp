#include "cli/event_stream.h"

#include <gtest/gtest.h>

#include <vector>

namespace fathom {
namespace {

TEST(EventStream, events_are_the_same_however_the_bytes_are_cut) {
  const std::string text =
      ": hello\ndata: {\"a\":1}\n\nevent: x\r\ndata:two\r\n\r\ndata: [DONE]\n\n";
  const std::vector<std::string> expected = {"{\"a\":1}", "two", "[DONE]"};
  for (size_t size = 1; size <= text.size(); ++size) {
    EventStream stream;
    std::vector<std::string> events;
    for (size_t at = 0; at < text.size(); at += size)
      stream.add(std::string_view(text).substr(at, size),
                 [&](std::string_view event) { events.emplace_back(event); });
    EXPECT_EQ(events, expected) << "pieces of " << size;
  }
}

TEST(EventStream, an_unfinished_line_is_no_event) {
  EventStream stream;
  stream.add("data: half", [](std::string_view) { FAIL(); });
}

}  // namespace
}  // namespace fathom
