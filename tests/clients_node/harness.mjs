// What the tests of the npm clients share: where the server is, and cases whose calls are recorded.
//
// Invariant: every call of a case is written to the file PURSER_RESULTS, with the request id that the server gave
// it, so that pytest can look each of them up in the ledger.
import { File } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import test from 'node:test';

globalThis.File ??= File; // Node 18 has it, but not where OpenAI's SDK looks for it

export const serverURL = process.env.PURSER_URL;
export const apiKey = process.env.PURSER_KEY;
export const GPT = 'gpt-4o-mini';
export const CLAUDE = 'claude-haiku-4-5';
export const BOTH = [GPT, CLAUDE];

const TIMEOUT_MS = 120_000;
const calls = [];

/** A test whose name pytest finds in this file's text: keep it a literal at the start of a line. */
export function check(name, run) {
  test(name, { timeout: TIMEOUT_MS }, async () => {
    calls.length = 0;
    let error = null;
    try {
      await run();
    } catch (failure) {
      error = failure.stack ?? String(failure);
      throw failure;
    } finally {
      appendFileSync(process.env.PURSER_RESULTS, `${JSON.stringify({ name, error, calls })}\n`);
    }
  });
}

/** Node's fetch, for the SDKs' `fetch` option. */
export async function recordedFetch(url, options) {
  const response = await fetch(url, options);
  const { pathname: path, protocol } = new URL(url);
  if (protocol === 'data:') return response; // a probe of the SDK's own, for what this fetch can do
  calls.push({
    method: options?.method ?? 'GET',
    path,
    status: response.status,
    request_id: response.headers.get('x-request-id'),
  });
  return response;
}

/** Calls of the running case so far. */
export const callsSoFar = () => calls.length;

/** Headers of a client whose every call is to reach a provider. */
export const uncached = { 'x-purser-cache': 'off' };

/** A question that nobody asked before. */
export const freshQuestion = () => `Describe the object with the code ${randomUUID()} in a sentence.`;

export const user = (content) => [{ role: 'user', content }];

/** Everything an asynchronous iterable gives. */
export async function collect(iterable) {
  const found = [];
  for await (const item of iterable) found.push(item);
  return found;
}
