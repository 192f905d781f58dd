// Messages through Anthropic's SDK for Node, answered by a model of either provider.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';
import { apiKey, BOTH, check, CLAUDE, collect, freshQuestion, GPT, recordedFetch, serverURL, uncached, user } from './harness.mjs';

const client = new Anthropic({ baseURL: serverURL, apiKey, maxRetries: 0, fetch: recordedFetch, defaultHeaders: uncached });

const weatherTool = {
  name: 'get_weather',
  description: 'The weather of a city.',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const askForWeather = user('What is the weather in Berlin? Use the tool get_weather.');

check('a message is answered whole, with our facts', async () => {
  for (const model of BOTH) {
    const { data, response } = await client.messages.create({ model, max_tokens: 100, system: 'Be brief.', messages: user(freshQuestion()) }).withResponse();
    assert.equal(data.content[0].type, 'text');
    assert.ok(data.content[0].text);
    assert.equal(data.stop_reason, 'end_turn');
    assert.ok(data.usage.input_tokens > 0 && data.usage.output_tokens > 0);
    assert.equal(data.purser.request_id, response.headers.get('x-request-id'));
  }
});

check('a message is streamed event by event', async () => {
  for (const model of BOTH) {
    const events = await collect(await client.messages.create({ model, max_tokens: 100, messages: user(freshQuestion()), stream: true }));
    const kinds = events.map((event) => event.type).filter((kind) => kind !== 'ping');
    assert.deepEqual(kinds.slice(0, 2), ['message_start', 'content_block_start']);
    assert.deepEqual(kinds.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
    assert.ok(events.find((event) => event.type === 'message_delta').usage.output_tokens > 0);
  }
});

check('the streaming helper tells each piece and the whole', async () => {
  for (const model of BOTH) {
    const pieces = [];
    const stream = client.messages.stream({ model, max_tokens: 100, messages: user(freshQuestion()) }).on('text', (delta) => pieces.push(delta));
    const message = await stream.finalMessage();
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(''), message.content[0].text);
    assert.ok(message.usage.output_tokens > 0);
  }
});

check('a structured answer is parsed by its zod schema', async () => {
  const format = zodOutputFormat(z.object({ name: z.string(), age: z.number().int() }));
  for (const model of BOTH) {
    const message = await client.messages.parse({
      model,
      max_tokens: 200,
      messages: user('Extract the person: Maria Lopez is 34 years old.'),
      output_config: { format },
    });
    assert.equal(message.parsed_output.age, 34);
  }
});

check('tools are called and their results answered', async () => {
  for (const model of BOTH) {
    const asked = { model, max_tokens: 200, tools: [weatherTool] };
    const first = await client.messages.create({ ...asked, messages: askForWeather, tool_choice: { type: 'any' } });
    const [use] = first.content.filter((block) => block.type === 'tool_use');
    assert.deepEqual([use.name, use.input, first.stop_reason], ['get_weather', { city: 'Berlin' }, 'tool_use']);
    const result = { type: 'tool_result', tool_use_id: use.id, content: [{ type: 'text', text: '12 degrees' }] };
    const second = await client.messages.create({
      ...asked,
      messages: [...askForWeather, { role: 'assistant', content: first.content }, { role: 'user', content: [result] }],
    });
    assert.equal(second.content[0].type, 'text');
  }
});

check('the input of a tool is streamed', async () => {
  for (const model of BOTH) {
    const snapshots = [];
    const stream = client.messages
      .stream({ model, max_tokens: 200, messages: askForWeather, tools: [weatherTool] })
      .on('inputJson', (piece, snapshot) => snapshots.push(snapshot));
    const message = await stream.finalMessage();
    assert.deepEqual(message.content.find((block) => block.type === 'tool_use').input, { city: 'Berlin' });
    assert.deepEqual(snapshots.at(-1), { city: 'Berlin' });
  }
});

check('the tool runner calls the functions until there is an answer', async () => {
  for (const model of BOTH) {
    for (const stream of [false, true]) {
      const asked = [];
      const tool = betaZodTool({
        name: 'get_weather',
        description: 'The weather of a city.',
        inputSchema: z.object({ city: z.string() }),
        run: ({ city }) => {
          asked.push(city);
          return '12 degrees, rain';
        },
      });
      const runner = client.beta.messages.toolRunner({ model, max_tokens: 200, messages: askForWeather, tools: [tool], stream });
      const final = await runner.runUntilDone();
      assert.equal(final.content[0].type, 'text');
      assert.deepEqual(asked, ['Berlin']);
    }
  }
});

check('thinking comes with its signature and goes back', async () => {
  const asked = { model: CLAUDE, max_tokens: 3000, thinking: { type: 'enabled', budget_tokens: 1024 } };
  const messages = user(freshQuestion());
  const first = await client.messages.stream({ ...asked, messages }).finalMessage();
  assert.equal(first.content[0].type, 'thinking');
  assert.ok(first.content[0].signature);
  const second = await client.messages.create({
    ...asked,
    messages: [...messages, { role: 'assistant', content: first.content }, ...user('And its colour?')],
  });
  assert.equal(second.content.at(-1).type, 'text');
});

check('cache marks, images and documents pass', async () => {
  const message = await client.messages.create({
    model: CLAUDE,
    max_tokens: 100,
    system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral', ttl: '1h' } }],
    messages: user([
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'iVBORw0KGgo=' } },
      { type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'The code is 42.' }, title: 'Codes' },
      { type: 'text', text: freshQuestion() },
    ]),
    metadata: { user_id: 'alice' },
  });
  assert.ok(message.content[0].text);
});

check('tokens are counted for a model of either provider', async () => {
  for (const model of BOTH) {
    const counted = await client.messages.countTokens({ model, messages: user('Hello, how are you?'), tools: [weatherTool] });
    assert.ok(counted.input_tokens > 5);
  }
});

check('models are listed in the shape of Anthropic', async () => {
  const models = await collect(client.models.list());
  assert.ok(models.some((model) => model.id === CLAUDE && model.type === 'model' && model.display_name));
  assert.equal((await client.models.retrieve(CLAUDE)).id, CLAUDE);
});

check('errors are of the class the SDK has for them', async () => {
  const ask = (options, from = client) => from.messages.create({ model: CLAUDE, max_tokens: 10, messages: user('Hi'), ...options });
  const refusals = [
    [ask({ model: 'claude-0' }), Anthropic.NotFoundError, 'not_found_error'],
    [ask({ messages: [] }), Anthropic.BadRequestError, 'invalid_request_error'],
    [ask({ model: GPT, top_k: 5 }), Anthropic.BadRequestError, 'invalid_request_error'],
    [ask({}, client.withOptions({ apiKey: 'sk-of-nobody' })), Anthropic.AuthenticationError, 'authentication_error'],
  ];
  for (const [refused, kind, type] of refusals) {
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof kind, error.constructor.name);
      assert.equal(error.error.type, 'error');
      assert.equal(error.error.error.type, type);
      return true;
    });
  }
});
