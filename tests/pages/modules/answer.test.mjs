// Does a stream become an answer, and does every way to fail become words that help? Through ask(), with a made-up
// fetch.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { add_tool_pieces, ask } from '../../../services/gateway/pages/chat/answer.js';
import { EventReader } from '../../../services/gateway/pages/chat/events.js';
import { seconds_left } from '../../../services/gateway/pages/chat/refusal.js';
import { body_of, check } from '../../../services/gateway/pages/chat/request.js';

const bytes = (text) => new TextEncoder().encode(text);

// pieces: Uint8Arrays; `fails` ends the body with an error instead of its end.
function response(pieces, { status = 200, headers = {}, fails = false } = {}) {
  const body = new ReadableStream({
    pull(controller) {
      if (pieces.length) controller.enqueue(pieces.shift());
      else if (fails) controller.error(new TypeError('network error'));
      else controller.close();
    },
  });
  return async () => new Response(body, { status, headers });
}

async function run(fetch) {
  const got = { text: '', thought: '', calls: [], tokens: 0, usage: null, finish: null, gaps: 0, refusal: null };
  const on = {
    opened() {},
    reasoning: (text) => (got.thought += text),
    content: (text) => (got.text += text),
    tool_calls: (pieces) => add_tool_pieces(got.calls, pieces),
    tokens: (count) => (got.tokens += count),
    usage: (usage) => (got.usage = usage),
    finish: (reason) => (got.finish = reason),
    gap: () => (got.gaps += 1),
  };
  await ask({ model: 'm' }, { key: 'k', fetch, typed: 1_000_000 }, on).catch((error) => (got.refusal = error));
  return got;
}

const event = (body) => `data: ${JSON.stringify(body)}\n\n`;
const delta = (fields, finish_reason = null, more = {}) =>
  event({ choices: [{ index: 0, delta: fields, finish_reason, ...more }] });
const refuse = (status, error, headers) => run(response([bytes(JSON.stringify({ error }))], { status, headers }));

test('events are read however the bytes are cut', () => {
  const text =
    ': keep-alive\r\n\r\ndata: {"a":1}\r\n\r\ndata:b\ndata: c\n\nevent: x\nid: 3\ndata: d\r\rdata: not complete';
  for (let size = 1; size < text.length; size += 1) {
    const reader = new EventReader();
    const got = [];
    for (let at = 0; at < text.length; at += size) got.push(...reader.push(text.slice(at, at + size)));
    assert.deepEqual(got, ['{"a":1}', 'b\nc', 'd'], `in pieces of ${size}`);
  }
});

test('an event without an end is an error, not a full memory', () => {
  const reader = new EventReader();
  assert.throws(() => {
    for (let i = 0; i < 40; i += 1) reader.push('x'.repeat(1_000_000));
  }, /no end/);
});

test('a whole answer: thought, text, tokens, usage', async () => {
  const usage = {
    prompt_tokens: 9,
    completion_tokens: 4,
    prompt_tokens_details: { cached_tokens: 8 },
    completion_tokens_details: { reasoning_tokens: 2 },
  };
  const all = bytes(
    delta({ role: 'assistant', content: '' }) +
      delta({ reasoning_content: 'hm ' }, null, { token_ids: [1, 2] }) +
      delta({ content: 'grün 🙂' }, null, { token_ids: [3] }) +
      delta({}, 'stop') +
      event({ choices: [], usage }) +
      'data: [DONE]\n\n',
  );
  const got = await run(response(Array.from(all, (_, i) => all.slice(i, i + 1)))); // byte by byte: letters are cut too
  assert.deepEqual([got.thought, got.text, got.tokens, got.finish, got.refusal], ['hm ', 'grün 🙂', 3, 'stop', null]);
  assert.deepEqual(got.usage, { prompt: 9, cached: 8, completion: 4, reasoning: 2 });
});

test('tool calls are put together by their index', async () => {
  const call = (index, fields) => delta({ tool_calls: [{ index, ...fields }] });
  const got = await run(
    response([
      bytes(
        call(0, { id: 'a', function: { name: 'f', arguments: '' } }) +
          call(1, { id: 'b', function: { name: 'g', arguments: '{' } }) +
          call(0, { function: { arguments: '{"x":' } }) +
          call(1, { function: { arguments: '}' } }) +
          call(0, { function: { arguments: '1}' } }) +
          call(1e9, {}) +
          call(-1, {}) +
          delta({}, 'tool_calls') +
          'data: [DONE]\n\n',
      ),
    ]),
  );
  assert.deepEqual(got.calls.slice(0, 2), [
    { id: 'a', name: 'f', arguments: '{"x":1}' },
    { id: 'b', name: 'g', arguments: '{}' },
  ]);
  assert.ok(got.calls.length < 10);
});

test('broken events are gaps, and the answer goes on', async () => {
  const got = await run(
    response([
      bytes(
        delta({ content: 'a' }) +
          'data: {"choices": [\n\ndata: null\n\ndata: 7\n\ndata: {"choices": 3}\n\ndata: {"choices":[null]}\n\n' +
          delta({ content: 5, reasoning_content: [] }) +
          delta({ content: 'b' }) +
          delta({}, 'stop'),
      ),
    ]),
  );
  assert.deepEqual([got.text, got.gaps, got.refusal], ['ab', 4, null]);
});

test('a stream that ends too early is a lost connection', async () => {
  for (const fails of [true, false]) {
    const cut = await run(response([bytes(delta({ content: 'a' }))], { fails }));
    assert.deepEqual([cut.text, cut.refusal.kind], ['a', 'lost']);
    assert.match(cut.refusal.title, /mid-answer/);
  }
  const late = await run(response([bytes(delta({ content: 'a' }) + delta({}, 'stop'))], { fails: true }));
  assert.equal(late.refusal, null, 'it was complete');
});

test('an error in the stream is told in the words of the server', async () => {
  const got = await run(
    response([
      bytes(
        delta({ content: 'a' }) +
          delta({}, 'error') +
          event({ error: { message: 'a worker was lost', code: 'internal_error' } }) +
          'data: [DONE]\n\n',
      ),
    ]),
  );
  assert.deepEqual([got.text, got.refusal.kind, got.finish], ['a', 'event', null]);
  assert.match(got.refusal.text, /A worker was lost\./);
});

test('no server', async () => {
  const got = await run(async () => {
    throw new TypeError('Failed to fetch');
  });
  assert.equal(got.refusal.kind, 'lost');
});

test('a stop is a stop, not a failure', async () => {
  const got = await run(async () => {
    throw new DOMException('stop', 'AbortError');
  });
  assert.equal(got.refusal.name, 'AbortError');
});

test('too long: how long it is and what fits', async () => {
  const { refusal } = await refuse(400, {
    code: 'context_length_exceeded',
    message:
      "This model's maximum context length is 4096 tokens. However, your prompt has 540006 tokens. Please shorten the request.",
  });
  assert.equal(refusal.kind, 'long');
  assert.match(refusal.text, /540,006 tokens .*1,000,000 characters.* 4,096 fit/);
  const { refusal: asked } = await refuse(400, {
    code: 'context_length_exceeded',
    message:
      "This model's maximum context length is 4096 tokens. However, you asked for 6008 tokens (8 in the prompt, 6000 for the answer).",
  });
  assert.match(asked.text, /6,000.*max tokens/);
  const { refusal: foreign } = await refuse(400, { code: 'context_length_exceeded', message: 'too many words' });
  assert.match(foreign.text, /Too many words\./);
});

test('each status says what to do', async () => {
  const kind = async (...words) => (await refuse(...words)).refusal.kind;
  assert.equal(await kind(401, { message: 'expired' }), 'key');
  assert.equal(await kind(413, { message: 'large' }), 'large');
  assert.equal(await kind(503, { message: 'draining' }), 'unready');
  assert.equal(await kind(400, { message: 'bad', param: 'top_p' }), 'refused');
  const { refusal } = await refuse(429, { message: 'full' }, { 'retry-after': '7' });
  assert.deepEqual([refusal.kind, refusal.retry_after], ['busy', 7]);
  const kept = refusal.record(50_000);
  assert.equal(seconds_left(kept, 54_500), 2.5);
  assert.equal(seconds_left(kept, 60_000), 0);
  assert.equal(seconds_left(kept, 1_000), 7, 'the clock was set back');
  assert.equal(seconds_left({ kind: 'lost', title: '', text: '' }, 0), 0);
  assert.equal(seconds_left(undefined, 0), 0);
  const { refusal: strange } = await run(response([bytes('<html>proxy</html>')], { status: 502 })).then((got) => got);
  assert.match(strange.text, /502/);
  assert.match((await refuse(400, { message: 'bad', param: 'top_p' })).refusal.text, /top_p/);
});

test('settings become fields, and only valid ones', () => {
  const path = [{ role: 'user', content: 'hi' }];
  const body = body_of(
    path,
    {
      system: 'Be brief.',
      temperature: '0',
      top_p: '1.5',
      seed: ' 42 ',
      stop: 'END\n\\n\\n',
      thinking: 'off',
      max_tokens: '',
      tools: '[{"type":"function","function":{"name":"f"}}]',
      frequency_penalty: 'x',
    },
    'm',
  );
  assert.deepEqual(body.messages, [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'hi' },
  ]);
  assert.deepEqual(
    [body.temperature, body.top_p, body.seed, body.max_tokens, body.frequency_penalty],
    [0, undefined, 42, undefined, undefined],
  );
  assert.deepEqual(body.stop, ['END', '\n\n']);
  assert.deepEqual(body.thinking, { type: 'disabled' });
  assert.equal(body.tools.length, 1);
  assert.equal(body.stream_options.include_usage, true);
});

test('what is wrong with a setting is said', () => {
  for (const [name, text, pattern] of [
    ['temperature', '3', /0 to 2/],
    ['temperature', 'warm', /number/],
    ['top_k', '1.5', /whole/],
    ['top_p', '0', /above 0/],
    ['stop', 'x\n'.repeat(17), /16/],
    ['tools', '{', /not JSON/],
    ['tools', '{}', /list/],
    ['tools', '[{"type":"function"}]', /Tool 1/],
  ])
    assert.match(check(name, text), pattern, `${name} ${text}`);
  for (const [name, text] of [
    ['temperature', ''],
    ['temperature', '0.7'],
    ['seed', '0'],
    ['top_p', '1'],
    ['tools', '[]'],
    ['system', 'anything'],
  ])
    assert.equal(check(name, text), '');
});

test('tool calls and their results go back as the API has them', () => {
  const path = [
    { role: 'user', content: 'weather?' },
    { role: 'assistant', content: '', reasoning: 'r', tool_calls: [{ id: 'c1', name: 'f', arguments: '{}' }] },
    { role: 'tool', tool_call_id: 'c1', content: 'sunny' },
  ];
  assert.deepEqual(body_of(path, {}, 'm').messages.slice(1), [
    {
      role: 'assistant',
      content: null,
      reasoning_content: 'r',
      tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }],
    },
    { role: 'tool', tool_call_id: 'c1', content: 'sunny' },
  ]);
});
