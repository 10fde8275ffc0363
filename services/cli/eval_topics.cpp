#include "cli/eval_topics.h"

#include <algorithm>
#include <array>

namespace fathom {
namespace {

constexpr std::array<std::string_view, 8> kTopics = {"arithmetic",
                                                     "letters and words",
                                                     "dates and units",
                                                     "recall",
                                                     "formats and JSON",
                                                     "tools",
                                                     "talk",
                                                     "other"};

struct Row {
  std::string_view task;
  size_t topic;
};

constexpr std::array kRows = {Row{"add", 0},
                              Row{"subtract", 0},
                              Row{"multiply", 0},
                              Row{"divide", 0},
                              Row{"add3", 0},
                              Row{"compare", 0},
                              Row{"sort_numbers", 0},
                              Row{"story", 0},
                              Row{"count_letter", 1},
                              Row{"count_letters", 1},
                              Row{"count_vowels", 1},
                              Row{"count_words", 1},
                              Row{"spell", 1},
                              Row{"reverse", 1},
                              Row{"sort_letters", 1},
                              Row{"nth_letter", 1},
                              Row{"sort_words", 1},
                              Row{"reverse_words", 1},
                              Row{"repeat", 1},
                              Row{"capitals", 1},
                              Row{"palindrome", 1},
                              Row{"date", 2},
                              Row{"clock", 2},
                              Row{"units", 2},
                              Row{"weekday", 2},
                              Row{"month", 2},
                              Row{"leap_year", 2},
                              Row{"recall", 3},
                              Row{"recall_inline", 3},
                              Row{"told", 3},
                              Row{"not_told", 3},
                              Row{"recall_long_1k", 3},
                              Row{"recall_long_2k", 3},
                              Row{"recall_long_3k", 3},
                              Row{"format", 4},
                              Row{"json_extract", 4},
                              Row{"json_array", 4},
                              Row{"tool_call", 5},
                              Row{"tool_result", 5},
                              Row{"no_tool", 5},
                              Row{"unknown", 6},
                              Row{"chat", 6}};

}  // namespace

std::span<const std::string_view> eval_topics() { return kTopics; }

std::string_view topic_of_task(std::string_view task) {
  const auto row = std::ranges::find(kRows, task, &Row::task);
  return row == kRows.end() ? kTopics.back() : kTopics[row->topic];
}

bool names_topic(std::string_view word, std::string_view topic) {
  return word == topic || (!word.empty() && word == topic.substr(0, topic.find(' ')));
}

}  // namespace fathom
