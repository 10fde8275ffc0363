// Which topic does a task belong to? The tasks of models/minnow in the seven topics of its card, in
// their order; tasks nobody knows are "other".
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace fathom {

std::span<const std::string_view> eval_topics();
std::string_view topic_of_task(std::string_view task);

// Whether a person who writes `word` means this topic: its name or the first word of it.
bool names_topic(std::string_view word, std::string_view topic);

}  // namespace fathom
