// What is sent to /v1/chat/completions? The path of a conversation as messages and its settings as fields. A setting that is empty is left
// out, so that the server's own default holds. Settings are kept as the text that was typed; check() says what is wrong with it.

// name: [least, most, whole numbers only]. The ranges are those of docs/http.md.
export const NUMBERS = {
  temperature: [0, 2, false],
  top_p: [0, 1, false],
  top_k: [-1, 1_000_000, true],
  max_tokens: [1, 10_000_000, true],
  seed: [0, Number.MAX_SAFE_INTEGER, true],
  frequency_penalty: [-2, 2, false],
  presence_penalty: [-2, 2, false],
  repetition_penalty: [0.01, 10, false],
};
const STOPS_MAX = 16;

// What is wrong with the text of a setting, or ''.
export function check(name, text) {
  const value = (text ?? '').trim();
  if (!value) return '';
  if (NUMBERS[name]) {
    const [least, most, whole] = NUMBERS[name];
    const number = Number(value);
    if (!Number.isFinite(number)) return 'This is not a number.';
    if (whole && !Number.isSafeInteger(number)) return 'This has to be a whole number.';
    if (number < least || number > most) return `This has to be from ${least} to ${most}.`;
    if (name === 'top_p' && number === 0) return 'This has to be above 0.';
  }
  if (name === 'stop' && stops(value).length > STOPS_MAX) return `At most ${STOPS_MAX} stop texts are taken.`;
  if (name === 'tools') return check_tools(value);
  return '';
}

function check_tools(text) {
  let tools;
  try {
    tools = JSON.parse(text);
  } catch (error) {
    return `This is not JSON: ${error.message}`;
  }
  if (!Array.isArray(tools)) return 'Tools are a JSON list: [{"type": "function", "function": {...}}]';
  const at = tools.findIndex((tool) => tool?.type !== 'function' || typeof tool.function?.name !== 'string');
  return at < 0 ? '' : `Tool ${at + 1} has no "type": "function" or no "function" with a "name".`;
}

// Stop texts, one a line; \n and \t are written as such.
const stops = (text) => text.split('\n').filter(Boolean).map((line) => line.replaceAll('\\n', '\n').replaceAll('\\t', '\t'));

// path: the nodes from the first message to the last one, without the answer that is asked for.
export function messages_of(path, system) {
  const messages = (system ?? '').trim() ? [{ role: 'system', content: system }] : [];
  for (const node of path) {
    if (node.role === 'tool') messages.push({ role: 'tool', tool_call_id: node.tool_call_id, content: node.content });
    else if (node.role === 'user') messages.push({ role: 'user', content: node.content });
    else if (node.tool_calls?.length)
      messages.push({
        role: 'assistant', content: node.content || null, ...(node.reasoning && { reasoning_content: node.reasoning }),
        tool_calls: node.tool_calls.map(({ id, name, arguments: text }) => ({ id, type: 'function', function: { name, arguments: text } })),
      });
    else if (node.content) messages.push({ role: 'assistant', content: node.content });
  }
  return messages;
}

// The body of the request. With `prefix` the last message is an answer that goes on.
export function body_of(path, settings, model, { prefix = false } = {}) {
  const messages = messages_of(path, settings.system);
  if (prefix) messages.at(-1).prefix = true;
  const body = { model, messages, stream: true, stream_options: { include_usage: true }, return_token_ids: true };
  for (const name of Object.keys(NUMBERS)) {
    const text = (settings[name] ?? '').trim();
    if (text && !check(name, text)) body[name] = Number(text);
  }
  if ((settings.stop ?? '').trim() && !check('stop', settings.stop)) body.stop = stops(settings.stop);
  if (settings.thinking === 'on' || settings.thinking === 'off') body.thinking = { type: settings.thinking === 'on' ? 'enabled' : 'disabled' };
  if ((settings.tools ?? '').trim() && !check('tools', settings.tools)) {
    const tools = JSON.parse(settings.tools);
    if (tools.length) body.tools = tools;
  }
  return body;
}
