// What went wrong, and what can the reader do about it? Every way in which an answer fails becomes a Refusal: a kind, a
// title that says what happened, and a text that says what to do. Nothing here draws or asks again.
import { count, size } from '../shared/numbers.js';

// kind: key, long, large, busy, unready, lost, event, refused.   retry_after: seconds, or null.
export class Refusal extends Error {
  constructor(kind, title, text, retry_after = null) {
    super(`${title} ${text}`);
    Object.assign(this, { kind, title, text, retry_after });
  }

  // What is kept with the answer it ended; `wall`: the time of it. A reload in between does not shorten the wait.
  record(wall) {
    const kept = { kind: this.kind, title: this.title, text: this.text };
    return this.retry_after ? { ...kept, retry_after: this.retry_after, retry_at: wall + this.retry_after * 1000 } : kept;
  }
}

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}` : '');

// The server's own words, from {"error": {"message"}} or from anything else it may have sent.
function words_of(body) {
  const text = body?.error?.message ?? body?.message ?? '';
  return sentence(String(text).slice(0, 600));
}

// A status other than 200. `sent` is the size of the request body in bytes, `typed` the length of the last message in
// characters.
export function refusal_of(status, body, headers, { sent = 0, typed = 0, has_key = false } = {}) {
  const words = words_of(body);
  const code = body?.error?.code ?? '';
  const after = Number.parseInt(headers.get('retry-after') ?? '', 10);
  const retry_after = Number.isFinite(after) ? Math.min(Math.max(after, 0), 3600) : null;
  if (status === 401 || status === 403)
    return new Refusal(
      'key',
      has_key ? 'This API key is not accepted.' : 'This server wants an API key.',
      has_key
        ? `${words} Enter another key, then send again. What you typed is kept.`
        : 'Enter your key, then send again. What you typed is kept.',
    );
  if (code === 'context_length_exceeded') return too_long(words, typed);
  if (status === 413)
    return new Refusal(
      'large',
      'The request is too large.',
      `It is ${size(sent)}, more than this server takes in one request. Shorten the message or begin a new conversation. ${words}`.trim(),
    );
  if (status === 429)
    return new Refusal(
      'busy',
      'The server is busy: its queue is full.',
      `Your message is kept. ${retry_after ? `Try again in ${retry_after} s.` : 'Try again in a moment.'}`,
      retry_after ?? 1,
    );
  if (status === 503)
    return new Refusal(
      'unready',
      'The server is not ready.',
      `${words} It may be starting or draining. Your message is kept; try again in a moment.`.trim(),
      retry_after,
    );
  if (status === 404 && code === 'model_not_found')
    return new Refusal('refused', 'This model is not served here.', `${words} Choose another one at the top.`.trim());
  if (status >= 500)
    return new Refusal(
      'refused',
      'The server failed.',
      `${words || `It answered ${status}.`} Try again; if it stays so, its log has the request ${headers.get('x-request-id') ?? ''}.`,
    );
  return new Refusal(
    'refused',
    'The server did not take this request.',
    `${words || `It answered ${status}.`}${hint_of(body?.error?.param)}`,
  );
}

function hint_of(param) {
  return typeof param === 'string' && param && !param.startsWith('messages')
    ? ` The field is ${param}: see the settings of this conversation.`
    : '';
}

function too_long(words, typed) {
  const most = /maximum context length is (\d+)/.exec(words);
  const prompt = /prompt has (\d+)/.exec(words) ?? /\((\d+) in the prompt/.exec(words);
  const answer = /(\d+) for the answer/.exec(words);
  if (!most || !prompt) return new Refusal('long', 'The conversation is too long for this model.', words);
  const told = `With the conversation so far it is ${count(prompt[1])} tokens${typed ? ` (the message alone has ${count(typed)} characters)` : ''}, and ${count(most[1])} fit, answer included.`;
  return new Refusal(
    'long',
    answer ? 'The message and the answer asked for do not fit.' : 'The message is too long for this model.',
    `${told} ${answer ? `The answer may use ${count(answer[1])}: lower max tokens in the settings, or shorten` : 'Shorten'} the message, or begin a new conversation.`,
  );
}

// fetch() itself failed, or the body broke off. `came`: whether anything of the answer came.
export function lost(came, sent = 0) {
  if (came)
    return new Refusal(
      'lost',
      'The connection was lost in mid-answer.',
      'What came is kept. Try again, or continue from here where that is offered.',
    );
  const large = sent > 8_000_000 ? ` The request was ${size(sent)}; it may be larger than the server takes.` : '';
  return new Refusal(
    'lost',
    'The server can not be reached.',
    `Check that it runs and that you are connected. Your message is kept.${large}`,
  );
}

// {"error": ...} in the middle of a stream.
export function failed_in_stream(body) {
  return new Refusal(
    'event',
    'The server ended the answer with an error.',
    `${words_of(body) || 'It did not say which.'} What came is kept. Try again.`,
  );
}

// Seconds until it makes sense to try again, of a kept record; a clock that was set back does not prolong them.
export function seconds_left(record, wall) {
  return record?.retry_at ? Math.min(Math.max((record.retry_at - wall) / 1000, 0), record.retry_after) : 0;
}
