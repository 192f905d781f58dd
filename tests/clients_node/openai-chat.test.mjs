// Chat completions through OpenAI's Node SDK, answered by a model of either provider.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { apiKey, BOTH, callsSoFar, check, CLAUDE, collect, freshQuestion, GPT, recordedFetch, serverURL, uncached, user } from './harness.mjs';

const client = new OpenAI({ baseURL: `${serverURL}/v1`, apiKey, maxRetries: 0, fetch: recordedFetch, defaultHeaders: uncached });

const weatherTool = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather of a city.',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};
const Person = z.object({ name: z.string(), age: z.number().int() });
const aboutAPerson = user('Extract the person: Maria Lopez is 34 years old.');

check('chat is answered whole, with usage and our facts', async () => {
  for (const model of BOTH) {
    const { data, response } = await client.chat.completions.create({ model, messages: user(freshQuestion()) }).withResponse();
    assert.ok(data.choices[0].message.content);
    assert.equal(data.choices[0].finish_reason, 'stop');
    assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
    assert.equal(data.purser.request_id, response.headers.get('x-request-id'));
    assert.ok(Number(response.headers.get('x-purser-cost-usd')) > 0);
  }
});

check('chat is streamed, usage only to who asks for it', async () => {
  for (const model of BOTH) {
    const plain = await collect(await client.chat.completions.create({ model, messages: user(freshQuestion()), stream: true }));
    assert.ok(plain.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''));
    assert.ok(plain.every((chunk) => !chunk.usage));
    const counted = await collect(
      await client.chat.completions.create({
        model,
        messages: user(freshQuestion()),
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    assert.ok(counted.at(-1).usage.completion_tokens > 0);
    assert.deepEqual(counted.at(-1).choices, []);
  }
});

check('the streaming helper tells each piece and the whole', async () => {
  for (const model of BOTH) {
    const pieces = [];
    const stream = client.chat.completions
      .stream({ model, messages: user(freshQuestion()), stream_options: { include_usage: true } })
      .on('content', (delta) => pieces.push(delta));
    const completion = await stream.finalChatCompletion();
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(''), completion.choices[0].message.content);
    assert.ok((await stream.totalUsage()).total_tokens > 0);
  }
});

check('a structured answer is parsed by its zod schema', async () => {
  for (const model of BOTH) {
    const response_format = zodResponseFormat(Person, 'person');
    const completion = await client.chat.completions.parse({ model, messages: aboutAPerson, response_format });
    assert.equal(completion.choices[0].message.parsed.age, 34);
    assert.match(completion.choices[0].message.parsed.name, /Maria/);
    const streamed = await client.chat.completions.stream({ model, messages: aboutAPerson, response_format }).finalChatCompletion();
    assert.deepEqual(streamed.choices[0].message.parsed, completion.choices[0].message.parsed);
  }
});

check('a JSON object is answered to who asks for one', async () => {
  for (const model of BOTH) {
    const completion = await client.chat.completions.create({
      model,
      messages: user('Where is the Eiffel tower? Answer in JSON with the keys "city" and "country".'),
      response_format: { type: 'json_object' },
    });
    assert.ok(JSON.parse(completion.choices[0].message.content).city);
  }
});

check('tools are called and their results answered', async () => {
  for (const model of BOTH) {
    const messages = user('What is the weather in Berlin? Use the tool get_weather.');
    const first = await client.chat.completions.create({ model, messages, tools: [weatherTool], tool_choice: 'required' });
    const [call] = first.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'get_weather');
    assert.equal(JSON.parse(call.function.arguments).city, 'Berlin');
    assert.equal(first.choices[0].finish_reason, 'tool_calls');
    messages.push(first.choices[0].message, { role: 'tool', tool_call_id: call.id, content: '12 degrees, rain' });
    const second = await client.chat.completions.create({ model, messages, tools: [weatherTool] });
    assert.ok(second.choices[0].message.content);
  }
});

check('parallel tool calls arrive in one streamed answer', async () => {
  for (const model of BOTH) {
    const completion = await client.chat.completions
      .stream({ model, messages: user('What is the weather in Berlin, Paris and Rome? Use the tool.'), tools: [weatherTool] })
      .finalChatCompletion();
    const cities = completion.choices[0].message.tool_calls.map((call) => JSON.parse(call.function.arguments).city);
    assert.deepEqual(cities, ['Berlin', 'Paris', 'Rome']);
  }
});

check('runTools calls the functions until there is an answer', async () => {
  for (const model of BOTH) {
    for (const stream of [false, true]) {
      const before = callsSoFar();
      const asked = [];
      const runner = client.chat.completions.runTools({
        model,
        stream,
        messages: user('What is the weather in Berlin? Use the tool get_weather.'),
        tools: [
          zodFunction({
            name: 'get_weather',
            description: 'The weather of a city.',
            parameters: z.object({ city: z.string() }),
            function: ({ city }) => {
              asked.push(city);
              return { city, degrees: 12 };
            },
          }),
        ],
      });
      assert.ok(await runner.finalContent());
      assert.deepEqual(asked, ['Berlin']);
      assert.equal(callsSoFar() - before, 2);
    }
  }
});

check('what a model of OpenAI takes beside the text passes', async () => {
  const completion = await client.chat.completions.create({
    model: GPT,
    messages: [
      { role: 'developer', content: 'Be brief.' },
      {
        role: 'user',
        content: [
          { type: 'text', text: freshQuestion() },
          { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=', detail: 'low' } },
        ],
      },
    ],
    n: 2,
    seed: 7,
    logprobs: true,
    top_logprobs: 2,
    presence_penalty: 0.1,
    max_completion_tokens: 30,
    metadata: { order: '17' },
    user: 'alice',
  });
  assert.equal(completion.choices.length, 2);
  assert.ok(completion.choices[0].logprobs.content.length > 0);
  assert.ok(completion.usage.completion_tokens <= 60);
});

check('what a model of Anthropic cannot do is refused by name', async () => {
  await assert.rejects(client.chat.completions.create({ model: CLAUDE, messages: user('Hi'), n: 2 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, 'n');
    assert.equal(error.code, 'invalid_request');
    return true;
  });
});

check('the gateway chooses the model of auto', async () => {
  const { data, response } = await client.chat.completions.create({ model: 'auto:simple', messages: user(freshQuestion()) }).withResponse();
  assert.equal(response.headers.get('x-purser-model'), 'gpt-4.1-nano');
  assert.ok(data.choices[0].message.content);
});

check('the same question again is answered from our cache, also streamed', async () => {
  const cached = client.withOptions({ defaultHeaders: { 'x-purser-cache': 'exact' } });
  const asked = { model: GPT, messages: user(freshQuestion()), temperature: 0 };
  const first = await cached.chat.completions.create(asked);
  let answer;
  do answer = await cached.chat.completions.create(asked).withResponse();
  while (answer.response.headers.get('x-purser-cache') !== 'exact'); // it is remembered in the background
  const { content } = first.choices[0].message;
  assert.equal(answer.data.choices[0].message.content, content);
  assert.equal(Number(answer.response.headers.get('x-purser-cost-usd')), 0);
  const streamed = await cached.chat.completions.stream(asked).finalChatCompletion();
  assert.equal(streamed.choices[0].message.content, content);
});

check('a stream that is given up is ended', async () => {
  const stream = await client.chat.completions.create({ model: GPT, messages: user(freshQuestion()), stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.id);
    break;
  }
});
