// How does one question become one answer? ask() sends the request and reports every piece as it comes. It returns when the answer is
// complete and throws a Refusal in every other case; what was reported before that stands. A stop is an AbortError. It draws nothing.
import { read_events } from './events.js';
import { Refusal, failed_in_stream, lost, refusal_of } from './refusal.js';

// on: { opened(), reasoning(text), content(text), tool_calls(pieces), tokens(count), usage(usage), finish(reason), gap() }
export async function ask(body, { key, signal, fetch, typed }, on) {
  const payload = JSON.stringify(body);
  const sent = new Blob([payload]).size;
  const headers = { 'content-type': 'application/json', accept: 'text/event-stream' };
  if (key) headers.authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch('/v1/chat/completions', { method: 'POST', body: payload, headers, signal, cache: 'no-store', credentials: 'same-origin' });
  } catch (error) {
    throw error.name === 'AbortError' ? error : lost(false, sent);
  }
  if (response.status !== 200) throw refusal_of(response.status, await document_of(response), response.headers, { sent, typed, has_key: Boolean(key) });
  on.opened();
  await follow(response, on);
}

async function document_of(response) {
  try {
    return JSON.parse((await response.text()).slice(0, 1_000_000));
  } catch {
    return null; // not ours: a proxy's page, or nothing
  }
}

async function follow(response, on) {
  const seen = { any: false, finish: null };
  try {
    for await (const data of read_events(response.body)) {
      if (data === '[DONE]') break;
      take(data, on, seen);
    }
  } catch (error) {
    if (error instanceof Refusal || error.name === 'AbortError') throw error;
    if (!seen.finish) throw lost(seen.any);
  }
  if (!seen.finish) throw lost(seen.any);
}

// One event. What can not be read is counted as a gap, and the answer goes on.
function take(data, on, seen) {
  let event;
  try {
    event = JSON.parse(data);
  } catch {
    on.gap();
    return;
  }
  if (event?.error) throw failed_in_stream(event);
  if (event === null || typeof event !== 'object' || !Array.isArray(event.choices)) {
    on.gap();
    return;
  }
  const choice = event.choices.find((each) => each?.index === 0);
  const delta = choice?.delta ?? {};
  if (choice) {
    if (typeof delta.reasoning_content === 'string' && delta.reasoning_content) on.reasoning(delta.reasoning_content);
    if (typeof delta.content === 'string' && delta.content) on.content(delta.content);
    if (Array.isArray(delta.tool_calls)) on.tool_calls(delta.tool_calls);
    seen.any ||= Boolean(delta.reasoning_content || delta.content || delta.tool_calls);
    on.tokens(Array.isArray(choice.token_ids) ? choice.token_ids.length : delta.content || delta.reasoning_content || delta.tool_calls ? 1 : 0);
    // "error" is told again, with its reason, by the event that follows.
    if (typeof choice.finish_reason === 'string' && choice.finish_reason !== 'error') {
      seen.finish = choice.finish_reason;
      on.finish(choice.finish_reason);
    }
  }
  if (event.usage) on.usage(usage_of(event.usage));
}

export function usage_of(usage) {
  const number = (value) => (Number.isSafeInteger(value) && value >= 0 ? value : 0);
  return {
    prompt: number(usage.prompt_tokens),
    cached: number(usage.prompt_tokens_details?.cached_tokens ?? usage.prompt_cache_hit_tokens),
    completion: number(usage.completion_tokens),
    reasoning: number(usage.completion_tokens_details?.reasoning_tokens),
  };
}

// Pieces of tool calls, by index, added to the calls so far.
export function add_tool_pieces(calls, pieces) {
  for (const piece of pieces) {
    const at = Number.isSafeInteger(piece?.index) && piece.index >= 0 && piece.index < 128 ? piece.index : calls.length;
    while (calls.length <= at) calls.push({ id: '', name: '', arguments: '' });
    if (typeof piece.id === 'string' && piece.id) calls[at].id = piece.id;
    if (typeof piece.function?.name === 'string') calls[at].name += piece.function.name;
    if (typeof piece.function?.arguments === 'string') calls[at].arguments += piece.function.arguments;
  }
}
