// Responses through OpenAI's Node SDK, answered by a model of either provider.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { apiKey, BOTH, check, CLAUDE, collect, freshQuestion, GPT, recordedFetch, serverURL, uncached } from './harness.mjs';

const client = new OpenAI({ baseURL: `${serverURL}/v1`, apiKey, maxRetries: 0, fetch: recordedFetch, defaultHeaders: uncached });

const Person = z.object({ name: z.string(), age: z.number().int() });
const weatherTool = zodResponsesFunction({
  name: 'get_weather',
  description: 'The weather of a city.',
  parameters: z.object({ city: z.string() }),
});
const askForWeather = 'What is the weather in Berlin? Use the tool get_weather.';

check('a response is answered whole', async () => {
  for (const model of BOTH) {
    const response = await client.responses.create({ model, input: freshQuestion(), instructions: 'Be brief.' });
    assert.equal(response.status, 'completed');
    assert.ok(response.output_text);
    assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
    assert.equal(response.purser.model, model);
  }
});

check('a response is streamed in order', async () => {
  for (const model of BOTH) {
    const events = await collect(await client.responses.create({ model, input: freshQuestion(), stream: true }));
    assert.equal(events[0].type, 'response.created');
    assert.equal(events.at(-1).type, 'response.completed');
    const pieces = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta);
    const [item] = events.at(-1).response.output.filter((one) => one.type === 'message');
    assert.equal(pieces.join(''), item.content[0].text);
    assert.deepEqual(
      events.map((event) => event.sequence_number),
      [...events.keys()],
    );
  }
});

check('the streaming helper tells each piece and the whole', async () => {
  for (const model of BOTH) {
    const pieces = [];
    const stream = client.responses
      .stream({ model, input: freshQuestion() })
      .on('response.output_text.delta', (event) => pieces.push(event.delta));
    const response = await stream.finalResponse();
    assert.equal(pieces.join(''), response.output_text);
  }
});

check('a structured answer is parsed by its zod schema', async () => {
  for (const model of BOTH) {
    const response = await client.responses.parse({
      model,
      input: 'Extract the person: Maria Lopez is 34 years old.',
      text: { format: zodTextFormat(Person, 'person') },
    });
    assert.equal(response.output_parsed.age, 34);
  }
});

check('tools are called and their results answered', async () => {
  for (const model of BOTH) {
    const input = [{ role: 'user', content: askForWeather }];
    const first = await client.responses.parse({ model, input, tools: [weatherTool], store: false });
    const [call] = first.output.filter((item) => item.type === 'function_call');
    assert.equal(call.parsed_arguments.city, 'Berlin');
    input.push(...first.output, { type: 'function_call_output', call_id: call.call_id, output: '12 degrees' });
    const second = await client.responses.create({ model, input, tools: [weatherTool], store: false });
    assert.ok(second.output_text);
  }
});

check('arguments of a tool are streamed', async () => {
  for (const model of BOTH) {
    const events = await collect(await client.responses.create({ model, input: askForWeather, tools: [weatherTool], stream: true }));
    const done = events.find((event) => event.type === 'response.function_call_arguments.done');
    const pieces = events.filter((event) => event.type === 'response.function_call_arguments.delta').map((event) => event.delta);
    assert.equal(pieces.join(''), done.arguments);
    assert.equal(JSON.parse(done.arguments).city, 'Berlin');
  }
});

check('images and files of the input pass', async () => {
  const response = await client.responses.create({
    model: GPT,
    input: [
      {
        role: 'user',
        content: [
          { type: 'input_text', text: freshQuestion() },
          { type: 'input_image', image_url: 'data:image/png;base64,iVBORw0KGgo=', detail: 'low' },
        ],
      },
    ],
    reasoning: { summary: 'auto' },
    metadata: { order: '17' },
  });
  assert.ok(response.output_text);
});

check('what a model of Anthropic cannot do is refused by name', async () => {
  const refused = client.responses.create({ model: CLAUDE, input: 'Hi', previous_response_id: 'resp_1' });
  await assert.rejects(refused, (error) => {
    assert.equal(error.status, 400);
    assert.equal(error.param, 'previous_response_id');
    return true;
  });
});
