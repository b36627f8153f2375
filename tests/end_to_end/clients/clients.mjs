// SPDX-License-Identifier: Apache-2.0
// The clients that people use, against a server on the embedded model. Usage: node clients.mjs SLUICE MODEL
// Exit code 77: a package is not installed (npm ci in this folder).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const [sluice, model] = process.argv.slice(2);
const KEY = 'a-key-of-tests';

async function load(name) {
  try {
    return await import(name);
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    console.log(`skipped: the package ${name} is not installed`);
    process.exit(77);
  }
}
const { default: OpenAI } = await load('openai');
const { default: Anthropic } = await load('@anthropic-ai/sdk');
const { ChatOpenAI } = await load('@langchain/openai');
const { generateText, streamText, tool, jsonSchema } = await load('ai');
const { createOpenAICompatible } = await load('@ai-sdk/openai-compatible');
const { Agent, OpenAIProvider, Runner, tool: agentTool } = await load('@openai/agents');
const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
const { McpServer } = await load('@modelcontextprotocol/sdk/server/mcp.js');
const { InMemoryTransport } = await load('@modelcontextprotocol/sdk/inMemory.js');
const { z } = await load('zod');

const server = spawn(sluice, ['serve', '-m', model, '--port', '0', '-np', '2', '--queue', '4', '-a', 'demo'],
  { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, SLUICE_API_KEY: KEY } });
const line = await new Promise((resolve, reject) => {
  createInterface(server.stdout).once('line', resolve);
  server.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
});
const origin = line.match(/http:\/\/[^,]+/)[0];

const QUESTION = 'What is 12 + 30?';
const ANSWER = '12 + 30 = 42';
const WEATHER = 'What is the weather in Paris?';
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const messages = [{ role: 'user', content: QUESTION }];
const tools = [{ type: 'function', function: { name: 'get_weather', description: 'Current weather', parameters: schema } }];

async function idle() {
  for (let n = 0; n < 200; ++n) {
    const slots = await (await fetch(`${origin}/slots`, { headers: { authorization: `Bearer ${KEY}` } })).json();
    if (!slots.some((slot) => slot.is_processing)) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail('a slot stays busy');
}

const tests = {
  async 'openai: models'(client = openai()) {
    const list = [];
    for await (const entry of client.models.list()) list.push(entry.id);
    assert.deepEqual(list, ['demo']);
  },
  async 'openai: chat'() {
    const answer = await openai().chat.completions.create({ model: 'demo', messages, temperature: 0 });
    assert.equal(answer.choices[0].message.content, ANSWER);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.ok(answer.usage.total_tokens > 10);
  },
  async 'openai: streamed chat'() {
    const stream = await openai().chat.completions.create(
      { model: 'demo', messages, temperature: 0, stream: true, stream_options: { include_usage: true } });
    let text = '';
    let usage;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, ANSWER);
    assert.ok(usage.completion_tokens > 5);
  },
  async 'openai: the helper that gathers a stream'() {
    const runner = openai().chat.completions.stream({ model: 'demo', messages, temperature: 0 });
    assert.equal(await runner.finalContent(), ANSWER);
  },
  async 'openai: logprobs'() {
    const answer = await openai().chat.completions.create(
      { model: 'demo', messages, temperature: 0, logprobs: true, top_logprobs: 2 });
    assert.equal(answer.choices[0].logprobs.content.map((entry) => entry.token).join(''), ANSWER);
  },
  async 'openai: a tool is called and answered'() {
    const conversation = [{ role: 'user', content: WEATHER }];
    const answer = await openai().chat.completions.create({ model: 'demo', messages: conversation, temperature: 0, tools });
    const { message, finish_reason } = answer.choices[0];
    assert.equal(finish_reason, 'tool_calls');
    const call = message.tool_calls[0];
    assert.equal(call.function.name, 'get_weather');
    assert.equal(typeof JSON.parse(call.function.arguments), 'object');
    conversation.push(message, { role: 'tool', tool_call_id: call.id, content: '18 degrees and sunny' });
    const last = await openai().chat.completions.create({ model: 'demo', messages: conversation, temperature: 0, tools });
    assert.ok(last.choices[0].message.content.length > 0);
  },
  async 'openai: a streamed tool call'() {
    const runner = openai().chat.completions.stream(
      { model: 'demo', messages: [{ role: 'user', content: WEATHER }], temperature: 0, tools });
    const message = await runner.finalMessage();
    assert.equal(message.tool_calls[0].function.name, 'get_weather');
    assert.equal(typeof JSON.parse(message.tool_calls[0].function.arguments), 'object');
  },
  async 'openai: completions'() {
    const answer = await openai().completions.create({ model: 'demo', prompt: 'To install a package', max_tokens: 5, temperature: 0 });
    assert.equal(answer.choices[0].finish_reason, 'length');
    assert.equal(answer.usage.completion_tokens, 5);
  },
  async 'openai: responses'() {
    const answer = await openai().responses.create({ model: 'demo', input: QUESTION, temperature: 0 });
    assert.equal(answer.output_text, ANSWER);
    assert.equal(answer.status, 'completed');
  },
  async 'openai: streamed responses'() {
    const stream = openai().responses.stream({ model: 'demo', input: QUESTION, temperature: 0 });
    let text = '';
    for await (const event of stream) if (event.type === 'response.output_text.delta') text += event.delta;
    assert.equal(text, ANSWER);
    assert.equal((await stream.finalResponse()).output_text, ANSWER);
  },
  async 'openai: responses with a tool'() {
    const tool = { type: 'function', name: 'get_weather', description: 'Current weather', parameters: schema, strict: false };
    const input = [{ role: 'user', content: WEATHER }];
    const answer = await openai().responses.create({ model: 'demo', input, tools: [tool], temperature: 0 });
    const call = answer.output.find((item) => item.type === 'function_call');
    assert.equal(call.name, 'get_weather');
    const last = await openai().responses.create({
      model: 'demo', tools: [tool], temperature: 0,
      input: [...input, ...answer.output, { type: 'function_call_output', call_id: call.call_id, output: '18 degrees' }],
    });
    assert.equal(last.status, 'completed');
  },
  async 'openai: an aborted stream frees its slot'() {
    for (let n = 0; n < 10; ++n) {
      const stream = await openai().chat.completions.create({ model: 'demo', messages, ignore_eos: true, stream: true });
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
      stream.controller.abort();
    }
    await idle();
  },
  async 'openai: errors'() {
    await assert.rejects(openai('wrong').models.list(), OpenAI.AuthenticationError);
    await assert.rejects(openai().chat.completions.create({ model: 'demo', messages: [] }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === 'messages');
    await assert.rejects(openai().chat.completions.create({ model: 'demo', messages, temperature: 'hot' }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === 'temperature');
    await assert.rejects(openai().chat.completions.create(
      { model: 'demo', messages: [{ role: 'user', content: 'long '.repeat(5000) }] }),
      (error) => error.type === 'exceed_context_size_error');
    await assert.rejects(openai().get('/nothing'), OpenAI.NotFoundError);
  },
  async 'openai: retries when too many ask'() {
    const client = openai(KEY, 20);
    const answers = await Promise.all(Array.from({ length: 16 }, () =>
      client.chat.completions.create({ model: 'demo', messages, temperature: 0 })));
    for (const answer of answers) assert.equal(answer.choices[0].message.content, ANSWER);
  },

  async 'anthropic: messages'() {
    const answer = await anthropic().messages.create({ model: 'demo', max_tokens: 50, messages, temperature: 0 });
    assert.deepEqual(answer.content, [{ type: 'text', text: ANSWER }]);
    assert.equal(answer.stop_reason, 'end_turn');
    assert.ok(answer.usage.output_tokens > 5);
  },
  async 'anthropic: streamed messages'() {
    const stream = anthropic().messages.stream({ model: 'demo', max_tokens: 50, messages, temperature: 0 });
    let text = '';
    stream.on('text', (delta) => { text += delta; });
    const message = await stream.finalMessage();
    assert.equal(text, ANSWER);
    assert.deepEqual(message.content.map((block) => block.text), [ANSWER]);
    assert.ok(message.usage.output_tokens > 5);
  },
  async 'anthropic: tools'() {
    const conversation = [{ role: 'user', content: WEATHER }];
    const body = { model: 'demo', max_tokens: 80, temperature: 0, tools: [{ name: 'get_weather', input_schema: schema, description: 'Current weather' }] };
    const answer = await anthropic().messages.create({ ...body, messages: conversation });
    assert.equal(answer.stop_reason, 'tool_use');
    const block = answer.content.at(-1);
    assert.equal(block.name, 'get_weather');
    const streamed = await anthropic().messages.stream({ ...body, messages: conversation }).finalMessage();
    assert.deepEqual(streamed.content.at(-1).input, block.input);
    conversation.push({ role: 'assistant', content: answer.content },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: block.id, content: '18 degrees' }] });
    const last = await anthropic().messages.create({ ...body, messages: conversation });
    assert.ok(last.content.length > 0);
  },
  async 'anthropic: count and stop'() {
    const count = await anthropic().messages.countTokens({ model: 'demo', messages });
    assert.ok(count.input_tokens > 5);
    const answer = await anthropic().messages.create(
      { model: 'demo', max_tokens: 50, messages, temperature: 0, stop_sequences: ['= '] });
    assert.equal(answer.stop_reason, 'stop_sequence');
    assert.equal(answer.stop_sequence, '= ');
  },
  async 'anthropic: errors and aborts'() {
    await assert.rejects(anthropic('wrong').messages.create({ model: 'demo', max_tokens: 5, messages }), Anthropic.AuthenticationError);
    await assert.rejects(anthropic().messages.create({ model: 'demo', max_tokens: 5, messages: [] }), Anthropic.BadRequestError);
    const stream = anthropic().messages.stream({ model: 'demo', max_tokens: 500, messages });
    stream.on('text', () => stream.abort());
    await assert.rejects(stream.finalMessage(), Anthropic.APIUserAbortError);
    await idle();
  },

  async 'langchain: invoke, stream, tools'() {
    const chat = new ChatOpenAI({ model: 'demo', apiKey: KEY, temperature: 0, configuration: { baseURL: `${origin}/v1` } });
    assert.equal((await chat.invoke(QUESTION)).content, ANSWER);
    let text = '';
    for await (const chunk of await chat.stream(QUESTION)) text += chunk.content;
    assert.equal(text, ANSWER);
    const called = await chat.bindTools(tools).invoke(WEATHER);
    assert.equal(called.tool_calls[0].name, 'get_weather');
  },

  async 'ai: generateText, streamText, tools'() {
    const provider = createOpenAICompatible({ name: 'sluice', baseURL: `${origin}/v1`, apiKey: KEY, includeUsage: true });
    const options = { model: provider('demo'), temperature: 0 };
    assert.equal((await generateText({ ...options, prompt: QUESTION })).text, ANSWER);
    const stream = streamText({ ...options, prompt: QUESTION });
    let text = '';
    for await (const delta of stream.textStream) text += delta;
    assert.equal(text, ANSWER);
    assert.ok((await stream.usage).outputTokens > 5);
    const asked = await generateText({
      ...options, prompt: WEATHER,
      tools: { get_weather: tool({ description: 'Current weather', inputSchema: jsonSchema(schema) }) },
    });
    assert.equal(asked.toolCalls[0].toolName, 'get_weather');
  },

  async 'ai: an aborted stream, errors'() {
    const provider = createOpenAICompatible({ name: 'sluice', baseURL: `${origin}/v1`, apiKey: 'wrong' });
    await assert.rejects(generateText({ model: provider('demo'), prompt: QUESTION, maxRetries: 0 }),
      (error) => error.statusCode === 401);
    const right = createOpenAICompatible({ name: 'sluice', baseURL: `${origin}/v1`, apiKey: KEY });
    const controller = new AbortController();
    const stream = streamText({
      model: right('demo'), prompt: QUESTION, abortSignal: controller.signal,
      providerOptions: { sluice: { ignore_eos: true } },
    });
    for await (const delta of stream.textStream) if (delta) controller.abort();
    await idle();
  },

  async 'agents: an agent answers, streams and calls a tool'() {
    const runner = (useResponses) => new Runner({
      modelProvider: new OpenAIProvider({ openAIClient: openai(), useResponses }), tracingDisabled: true });
    for (const useResponses of [false, true]) {
      const agent = new Agent({ name: 'demo', model: 'demo', modelSettings: { temperature: 0 } });
      assert.equal((await runner(useResponses).run(agent, QUESTION)).finalOutput, ANSWER);
      const streamed = await runner(useResponses).run(agent, QUESTION, { stream: true });
      let text = '';
      for await (const part of streamed.toTextStream()) text += part;
      assert.equal(text, ANSWER);
      let asked = 0;
      const weather = agentTool({
        name: 'get_weather', description: 'Current weather', strict: false,
        parameters: { ...schema, additionalProperties: true },
        execute: async () => { ++asked; return '18 degrees and sunny'; },
      });
      const forecaster = new Agent({ name: 'demo', model: 'demo', modelSettings: { temperature: 0 }, tools: [weather] });
      const result = await runner(useResponses).run(forecaster, WEATHER, { maxTurns: 3 });
      assert.equal(asked, 1);
      assert.ok(result.finalOutput.length > 0);
    }
  },

  async 'mcp: the tools of an MCP server are offered and called'() {
    const tools = new McpServer({ name: 'weather', version: '1' });
    tools.registerTool('get_weather', { description: 'Current weather', inputSchema: { city: z.string() } },
      async ({ city }) => ({ content: [{ type: 'text', text: `18 degrees in ${city}` }] }));
    const [one, other] = InMemoryTransport.createLinkedPair();
    const client = new Client({ name: 'clients', version: '1' });
    await Promise.all([tools.connect(one), client.connect(other)]);
    const offered = (await client.listTools()).tools.map(({ name, description, inputSchema }) => (
      { type: 'function', function: { name, description, parameters: inputSchema } }));
    const conversation = [{ role: 'user', content: WEATHER }];
    const ask = async () => (await openai().chat.completions.create(
      { model: 'demo', messages: conversation, temperature: 0, tools: offered })).choices[0].message;
    const message = await ask();
    const { id, function: { name, arguments: text } } = message.tool_calls[0];
    const result = await client.callTool({ name, arguments: JSON.parse(text) });
    assert.match(result.content[0].text, /18 degrees in Paris/);
    conversation.push(message, { role: 'tool', tool_call_id: id, content: result.content[0].text });
    assert.ok((await ask()).content.length > 0);
    await client.close();
  },
};

function openai(apiKey = KEY, maxRetries = 0) {
  return new OpenAI({ apiKey, baseURL: `${origin}/v1`, maxRetries });
}
function anthropic(apiKey = KEY) {
  return new Anthropic({ apiKey, baseURL: origin, maxRetries: 0 });
}

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    console.log(`ok ${name}`);
  } catch (error) {
    ++failed;
    console.log(`FAILED ${name}: ${error.stack}`);
  }
}
server.removeAllListeners('exit');
const ended = new Promise((resolve) => server.once('exit', resolve));
server.kill('SIGTERM');
const code = await ended;
if (code !== 0) {
  ++failed;
  console.log(`FAILED the server ended with ${code}`);
}
console.log(`${Object.keys(tests).length - failed} of ${Object.keys(tests).length} passed`);
process.exit(failed ? 1 : 0);
