// What does a human need to act on? One line per event, key=value, through spdlog to stderr. Never
// prompt or generated text. Counting is for metrics.
//   log_info("worker joined", {{"worker", id}, {"blocks", n}});
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace fathom {

enum class LogLevel { debug, info, warning, error };

struct LogField {
  std::string_view key;
  std::string value;
  LogField(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  template <class Number>
    requires requires(Number n) { std::to_string(n); }
  LogField(std::string_view k, Number v) : key(k), value(std::to_string(v)) {}
};
using LogFields = std::initializer_list<LogField>;

// Sets the least level that is written and the process name shown on each line. Called once by
// main.
void log_start(std::string_view process, LogLevel least);

void log(LogLevel level, std::string_view event, LogFields fields = {});
inline void log_debug(std::string_view e, LogFields f = {}) { log(LogLevel::debug, e, f); }
inline void log_info(std::string_view e, LogFields f = {}) { log(LogLevel::info, e, f); }
inline void log_warning(std::string_view e, LogFields f = {}) { log(LogLevel::warning, e, f); }
inline void log_error(std::string_view e, LogFields f = {}) { log(LogLevel::error, e, f); }

// A line as it is written, without time stamp: `event key=value key="two words"`. For tests and
// sinks.
std::string log_line(std::string_view event, LogFields fields);

}  // namespace fathom
