// Does the official OpenAI client for JavaScript work, unchanged? Prints one line per check and "all held" at the end.
// Usage: node openai_node.mjs BASE_URL e2e.json cases.json
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';

const [baseURL, chatFile, greedyFile] = process.argv.slice(2);
const chat = JSON.parse(readFileSync(chatFile)).cases[0];
// While the model thinks, a repeated opening marker is dropped.
const shown = chat.text.replaceAll('<think>', '');
const greedy = JSON.parse(readFileSync(greedyFile)).prompts[1];
const client = new OpenAI({ baseURL, apiKey: 'any', maxRetries: 0 });
const question = {
  model: 'test-model', messages: chat.messages, temperature: 0, max_tokens: chat.greedy_ids.length,
  ignore_eos: true, skip_special_tokens: false,
};

async function check(what, body) {
  await body();
  console.log(`ok: ${what}`);
}

async function fails(ErrorClass, fields, request) {
  await assert.rejects(request, (error) => {
    assert.ok(error instanceof ErrorClass, `${error}`);
    for (const [name, value] of Object.entries(fields)) assert.equal(error[name], value, name);
    return true;
  });
}

await check('chat in one piece', async () => {
  const { message, finish_reason } = (await client.chat.completions.create(question)).choices[0];
  assert.equal((message.reasoning_content ?? '') + (message.content ?? ''), shown);
  assert.equal(finish_reason, 'length');
});

await check('chat streamed', async () => {
  let text = '';
  for await (const chunk of await client.chat.completions.create({ ...question, stream: true }))
    for (const { delta } of chunk.choices) text += (delta.reasoning_content ?? '') + (delta.content ?? '');
  assert.equal(text, shown);
});

await check('the stream helper ends every choice', async () => {
  const final = await client.chat.completions.stream({ ...question, n: 2 }).finalChatCompletion();
  assert.deepEqual(final.choices.map((choice) => choice.finish_reason), ['length', 'length']);
});

await check('completions of token ids', async () => {
  const answer = await client.completions.create({
    model: 'test-model', prompt: greedy.tokens, max_tokens: greedy.greedy.length, temperature: 0, ignore_eos: true,
    return_token_ids: true,
  });
  assert.deepEqual(answer.choices[0].token_ids, greedy.greedy);
});

await check('models', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ['test-model']);
});

await check('errors have their classes', async () => {
  await fails(OpenAI.NotFoundError, { code: 'model_not_found' },
    () => client.chat.completions.create({ ...question, model: 'nobody' }));
  await fails(OpenAI.BadRequestError, { param: 'temperature' },
    () => client.chat.completions.create({ ...question, temperature: 9 }));
  await fails(OpenAI.BadRequestError, { code: 'context_length_exceeded' },
    () => client.completions.create({ model: 'test-model', prompt: new Array(100000).fill(5), max_tokens: 1 }));
});

await check('a reader that leaves', async () => {
  const stream = await client.completions.create({
    model: 'test-model', prompt: greedy.tokens, max_tokens: 900, ignore_eos: true, stream: true });
  for await (const _ of stream) break;
});

console.log('all held');
