// The rest of OpenAI's Node SDK that we answer: completions, embeddings, models, files, batches, errors.
import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { apiKey, check, CLAUDE, collect, freshQuestion, GPT, recordedFetch, serverURL, uncached, user } from './harness.mjs';

const BATCH_PATIENCE_MS = 100_000;
const client = new OpenAI({ baseURL: `${serverURL}/v1`, apiKey, maxRetries: 0, fetch: recordedFetch, defaultHeaders: uncached });

check('a legacy completion is answered whole and streamed', async () => {
  const completion = await client.completions.create({ model: GPT, prompt: freshQuestion(), max_tokens: 30 });
  assert.ok(completion.choices[0].text);
  assert.ok(completion.usage.total_tokens > 0);
  const chunks = await collect(await client.completions.create({ model: GPT, prompt: freshQuestion(), max_tokens: 30, stream: true }));
  assert.ok(chunks.map((chunk) => chunk.choices[0]?.text ?? '').join(''));
});

check('embeddings come as numbers, also of several texts', async () => {
  const answer = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['one', 'two'], dimensions: 64 });
  assert.deepEqual(
    answer.data.map((item) => [item.index, item.embedding.length]),
    [
      [0, 64],
      [1, 64],
    ],
  );
  const floats = await client.embeddings.create({ model: 'text-embedding-3-small', input: 'one', dimensions: 64, encoding_format: 'float' });
  floats.data[0].embedding.forEach((value, place) => assert.ok(Math.abs(value - answer.data[0].embedding[place]) < 1e-6));
});

check('models are listed and found', async () => {
  const ids = (await collect(client.models.list())).map((model) => model.id);
  assert.ok(ids.includes(GPT) && ids.includes(CLAUDE));
  assert.equal((await client.models.retrieve(CLAUDE)).id, CLAUDE);
  await assert.rejects(client.models.retrieve('gpt-9'), OpenAI.NotFoundError);
});

check('files are kept, listed, read and deleted', async () => {
  const line = `${JSON.stringify({ custom_id: 'a' })}\n`;
  const file = await client.files.create({ file: await toFile(Buffer.from(line), 'lines.jsonl'), purpose: 'batch' });
  assert.deepEqual([file.object, file.filename, file.bytes], ['file', 'lines.jsonl', line.length]);
  assert.ok((await collect(client.files.list({ purpose: 'batch' }))).some((one) => one.id === file.id));
  assert.equal(await (await client.files.content(file.id)).text(), line);
  assert.equal((await client.files.retrieve(file.id)).id, file.id);
  assert.equal((await client.files.delete(file.id)).deleted, true);
  await assert.rejects(client.files.retrieve(file.id), OpenAI.NotFoundError);
});

check('a batch runs and its results are read', async () => {
  const lines = ['one', 'two'].map((custom_id) => ({
    custom_id,
    method: 'POST',
    url: '/v1/chat/completions',
    body: { model: GPT, max_tokens: 20, messages: user(freshQuestion()) },
  }));
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  const file = await client.files.create({ file: await toFile(Buffer.from(text), 'lines.jsonl'), purpose: 'batch' });
  let batch = await client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' });
  const deadline = Date.now() + BATCH_PATIENCE_MS;
  while (!['completed', 'failed', 'expired', 'cancelled'].includes(batch.status)) {
    assert.ok(Date.now() < deadline, `the batch is still ${batch.status}`);
    await setTimeout(250);
    batch = await client.batches.retrieve(batch.id);
  }
  assert.equal(batch.status, 'completed');
  assert.deepEqual(batch.request_counts, { total: 2, completed: 2, failed: 0 });
  assert.ok((await collect(client.batches.list({ limit: 10 }))).some((one) => one.id === batch.id));
  const results = (await (await client.files.content(batch.output_file_id)).text()).trim().split('\n').map(JSON.parse);
  assert.deepEqual(results.map((result) => result.custom_id).sort(), ['one', 'two']);
  assert.ok(results[0].response.body.choices[0].message.content);
});

check('errors are of the class the SDK has for them', async () => {
  const ask = (options, from = client) => from.chat.completions.create({ model: GPT, messages: user('Hi'), ...options });
  const refusals = [
    [ask({ model: 'gpt-9' }), OpenAI.NotFoundError, 'model_not_found'],
    [ask({ messages: [] }), OpenAI.BadRequestError, 'invalid_request'],
    [ask({}, client.withOptions({ apiKey: 'sk-of-nobody' })), OpenAI.AuthenticationError, 'invalid_api_key'],
    [ask({ model: 'unpriced-model' }), OpenAI.APIError, 'model_unpriced'],
  ];
  for (const [refused, kind, code] of refusals) {
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof kind, error.constructor.name);
      assert.equal(error.code, code);
      assert.ok(error.requestID);
      return true;
    });
  }
});
