// The Vercel AI SDK through its providers: OpenAI's responses and chat, OpenAI-compatible servers, Anthropic.
import assert from 'node:assert/strict';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateObject, generateText, Output, stepCountIs, streamObject, streamText, tool } from 'ai';
import { z } from 'zod';
import { apiKey, check, CLAUDE, collect, freshQuestion, GPT, recordedFetch, serverURL, uncached } from './harness.mjs';

const settings = { apiKey, fetch: recordedFetch, headers: uncached };
const openai = createOpenAI({ ...settings, baseURL: `${serverURL}/v1` });
const compatible = createOpenAICompatible({
  ...settings,
  name: 'purser',
  baseURL: `${serverURL}/v1`,
  supportsStructuredOutputs: true,
  includeUsage: true,
});
const anthropic = createAnthropic({ ...settings, baseURL: `${serverURL}/v1` });

// every way the SDK has to a model, each with its own model and with the other provider's
const WAYS = {
  'responses of a GPT': openai.responses(GPT),
  'responses of a Claude': openai.responses(CLAUDE),
  'chat of a GPT': openai.chat(GPT),
  'chat of a Claude': openai.chat(CLAUDE),
  'compatible chat of a GPT': compatible(GPT),
  'compatible chat of a Claude': compatible(CLAUDE),
  'messages of a Claude': anthropic(CLAUDE),
  'messages of a GPT': anthropic(GPT),
};
const common = { maxRetries: 0, providerOptions: { openai: { store: false } } };
const person = z.object({ name: z.string(), age: z.number().int() });
const askForPerson = 'Extract the person: Maria Lopez is 34 years old.';

async function everyWay(run) {
  for (const [way, model] of Object.entries(WAYS)) {
    try {
      await run({ ...common, model });
    } catch (failure) {
      throw new Error(`${way}: ${failure.message}`, { cause: failure });
    }
  }
}

const weather = () => {
  const asked = [];
  const get_weather = tool({
    description: 'The weather of a city.',
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      asked.push(city);
      return { city, degrees: 12 };
    },
  });
  return { asked, tools: { get_weather }, prompt: 'What is the weather in Berlin? Use the tool get_weather.' };
};

check('generateText gives a text and its usage', async () => {
  await everyWay(async (options) => {
    const { text, usage, finishReason } = await generateText({ ...options, system: 'Be brief.', prompt: freshQuestion() });
    assert.ok(text);
    assert.equal(finishReason, 'stop');
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  });
});

check('streamText gives pieces and the whole', async () => {
  await everyWay(async (options) => {
    const result = streamText({ ...options, prompt: freshQuestion(), onError: () => {} });
    const pieces = await collect(result.textStream);
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(''), await result.text);
    assert.ok((await result.usage).outputTokens > 0);
  });
});

check('generateObject gives an object of its schema', async () => {
  await everyWay(async (options) => {
    const { object } = await generateObject({ ...options, schema: person, prompt: askForPerson });
    assert.equal(object.age, 34);
  });
});

check('streamObject gives the object as it grows', async () => {
  await everyWay(async (options) => {
    const result = streamObject({ ...options, schema: person, prompt: askForPerson, onError: () => {} });
    const partials = await collect(result.partialObjectStream);
    assert.equal((await result.object).age, 34);
    assert.deepEqual(partials.at(-1), await result.object);
  });
});

check('generateText gives a structured output', async () => {
  await everyWay(async (options) => {
    const { output } = await generateText({ ...options, output: Output.object({ schema: person }), prompt: askForPerson });
    assert.equal(output.age, 34);
  });
});

check('the tool loop calls the function and answers', async () => {
  await everyWay(async (options) => {
    const { asked, tools, prompt } = weather();
    const { text, steps } = await generateText({ ...options, tools, prompt, stopWhen: stepCountIs(4) });
    assert.deepEqual(asked, ['Berlin']);
    assert.equal(steps.length, 2);
    assert.ok(text);
  });
});

check('the tool loop runs streamed', async () => {
  await everyWay(async (options) => {
    const { asked, tools, prompt } = weather();
    const result = streamText({ ...options, tools, prompt, stopWhen: stepCountIs(4), onError: () => {} });
    const parts = (await collect(result.fullStream)).map((part) => part.type);
    assert.deepEqual(asked, ['Berlin']);
    assert.ok(parts.includes('tool-call') && parts.includes('tool-result') && parts.includes('text-delta'));
    assert.ok(await result.text);
  });
});

check('an image reaches the model', async () => {
  const image = Buffer.from('iVBORw0KGgo=', 'base64');
  await everyWay(async (options) => {
    const content = [
      { type: 'text', text: freshQuestion() },
      { type: 'image', image, mediaType: 'image/png' },
    ];
    assert.ok((await generateText({ ...options, messages: [{ role: 'user', content }] })).text);
  });
});

check('embedMany gives a vector for each text', async () => {
  const model = openai.embedding('text-embedding-3-small');
  const { embeddings, usage } = await embedMany({ model, values: ['one', 'two'], maxRetries: 0 });
  assert.deepEqual(
    embeddings.map((vector) => vector.length),
    [1536, 1536],
  );
  assert.ok(usage.tokens > 0);
});

check('a refusal is an error that says why', async () => {
  await assert.rejects(generateText({ ...common, model: openai.chat('gpt-9'), prompt: 'Hi' }), (error) => {
    assert.equal(error.statusCode, 404);
    assert.match(error.message, /gpt-9/);
    assert.equal(error.isRetryable, false);
    return true;
  });
});
