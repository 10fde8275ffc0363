// In which form does a model write its tool calls? The checkpoint's own template says so: it is
// given a call to render, and what it writes around name and arguments is compared with the forms
// that can be read. A template that writes them otherwise has none, and tools are refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

enum class ToolFormat : uint8_t {
  none,
  deepseek_v3,  // <｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\nARGUMENTS\n```<｜tool▁call▁end｜>
  deepseek_v31,  // <｜tool▁call▁begin｜>NAME<｜tool▁sep｜>ARGUMENTS<｜tool▁call▁end｜>
  hermes,        // <tool_call>\n{"name": "NAME", "arguments": ARGUMENTS}\n</tool_call> (Qwen2.5)
  llama,         // the answer is {"name": "NAME", "parameters": ARGUMENTS} (Llama 3)
};

// The form in which `rendering` contains the call of `name` with `arguments`.
ToolFormat tool_format_in(std::string_view rendering, std::string_view name,
                          std::string_view arguments);

// What an answer begins with so that it must be a call; with a name, a call of this tool.
std::string call_beginning(ToolFormat format, std::string_view name);

// Markers that are seen in the output even where special tokens are not shown.
std::vector<std::string_view> tool_markers(ToolFormat format);

// DeepSeek's.
inline constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
inline constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
inline constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
inline constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
inline constexpr std::string_view kCallSep = "<｜tool▁sep｜>";
// Hermes' and Llama's.
inline constexpr std::string_view kTagOpen = "<tool_call>";
inline constexpr std::string_view kTagClose = "</tool_call>";
inline constexpr std::string_view kPythonTag = "<|python_tag|>";

}  // namespace fathom
