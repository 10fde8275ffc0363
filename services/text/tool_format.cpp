#include "text/tool_format.h"

namespace fathom {
namespace {

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) out += part;
  return out;
}

std::string call_of(ToolFormat format, std::string_view name, std::string_view arguments) {
  switch (format) {
    case ToolFormat::deepseek_v3:
      return joined(
          {kCallBegin, "function", kCallSep, name, "\n```json\n", arguments, "\n```", kCallEnd});
    case ToolFormat::deepseek_v31:
      return joined({kCallBegin, name, kCallSep, arguments, kCallEnd});
    case ToolFormat::hermes:
      return joined(
          {kTagOpen, "\n{\"name\": \"", name, "\", \"arguments\": ", arguments, "}\n", kTagClose});
    case ToolFormat::llama:
      return joined({"{\"name\": \"", name, "\", \"parameters\": ", arguments, "}"});
    case ToolFormat::none:
      break;
  }
  return {};
}

}  // namespace

ToolFormat tool_format_in(std::string_view rendering, std::string_view name,
                          std::string_view arguments) {
  for (const ToolFormat format :
       {ToolFormat::deepseek_v3, ToolFormat::deepseek_v31, ToolFormat::hermes, ToolFormat::llama})
    if (rendering.find(call_of(format, name, arguments)) != std::string_view::npos) return format;
  return ToolFormat::none;
}

std::string call_beginning(ToolFormat format, std::string_view name) {
  const bool named = !name.empty();
  switch (format) {
    case ToolFormat::deepseek_v3:
      return joined(
          {kCallsBegin, kCallBegin, "function", kCallSep, name, named ? "\n```json\n" : ""});
    case ToolFormat::deepseek_v31:
      return joined({kCallsBegin, kCallBegin, name, named ? kCallSep : ""});
    case ToolFormat::hermes:
      return joined({kTagOpen, "\n{\"name\": \"", name, named ? "\", \"arguments\":" : ""});
    case ToolFormat::llama:
      return joined({"{\"name\": \"", name, named ? "\", \"parameters\":" : ""});
    case ToolFormat::none:
      break;
  }
  return {};
}

std::vector<std::string_view> tool_markers(ToolFormat format) {
  switch (format) {
    case ToolFormat::deepseek_v3:
    case ToolFormat::deepseek_v31:
      return {kCallsBegin, kCallsEnd, kCallBegin, kCallEnd, kCallSep};
    case ToolFormat::hermes:
      return {kTagOpen, kTagClose};
    case ToolFormat::llama:
      return {kPythonTag};
    case ToolFormat::none:
      break;
  }
  return {};
}

}  // namespace fathom
