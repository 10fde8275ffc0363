// Which pieces do the OpenAI parsers share? Private to the parsers.
#pragma once

#include <boost/json/value.hpp>
#include <string_view>

#include "gateway/json_fields.h"
#include "gateway/openai_parse.h"

namespace fathom {

// Valid UTF-8, valid JSON, an object; otherwise the refusal.
std::optional<ApiError> parse_object(std::string_view body, boost::json::value& out);
// model, sampling, stop, stream, tenant and the rest that chat and completions have in common.
void read_common(JsonFields& fields, const ParseLimits& limits, Generate& out);
void read_messages(JsonFields& fields, ChatInput& out);
// reasoning_effort, thinking, chat_template_kwargs, include_reasoning; checked against the template
// by encode().
void read_thinking(JsonFields& fields, Generate& out, ChatOptions& options);
// tools, tool_choice and what they were called before; the tools go into the chat's options.
void read_tools(JsonFields& fields, ChatInput& chat, ToolUse& out);
// tool_calls and function_call of an assistant's message, tool_call_id or name of a result.
void read_message_calls(JsonFields& message, std::string_view role, ChatMessage& out);
// Every result answers a call before it; results are put into the order of their calls.
void check_results(JsonFields& fields, std::vector<ChatMessage>& messages);
// A list of token ids in [0, vocab).
bool read_ids(JsonFields& fields, std::string_view key, const boost::json::array& list,
              int32_t vocab, std::vector<TokenId>& out);

}  // namespace fathom
