// SPDX-License-Identifier: Apache-2.0
// Speaks the server's protocol without a model: what it answers depends on words in the question. For the tests of the page and
// for working on it: node web/tests/mock_server.mjs [PORT]
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const kPage = fileURLToPath(new URL("../dist/index.html", import.meta.url));

export const markdownSample = `Routing picks **k experts** per token; here is the core of it.

## How it works

1. Scores come from a small matrix.
2. The best \`k\` are kept, *in order*.
   - ties go to the lower number

\`\`\`cpp
// the sum keeps its order
for (int i = 0; i < k; ++i) {
  out += weight[i] * expert(ids[i], x, "row");
}
\`\`\`

| tier | bandwidth | share |
|------|-----------|-------|
| VRAM | 336 GB/s  | 13 %  |
| RAM  | 50 GB/s   | 51 %  |

> What is not in memory is read while the rest is computed.

See https://example.org/paper and [the notes](https://example.org/notes).
`;

// Each must come out without effect. The page sets window.pwned if one has any.
export const hostileMarkdown = [
  "<script>window.pwned=1</script>",
  "<img src=x onerror=window.pwned=2>",
  "<svg onload=window.pwned=3><a xlink:href='javascript:window.pwned=3'>x</a></svg>",
  "[click](javascript:window.pwned=4)",
  "[click](JaVaScRiPt&colon;window.pwned=5)",
  "[click](data:text/html;base64,PHNjcmlwdD5wYXJlbnQucHduZWQ9Njwvc2NyaXB0Pg==)",
  "[click](vbscript:window.pwned=7)",
  "![beacon](https://evil.example/beacon.png)",
  "![x](https://evil.example/x.png \"title\\\" onload=window.pwned=8\")",
  "<iframe src=https://evil.example/></iframe>",
  "<form action=https://evil.example/><button>go</button></form>",
  "<style>body{display:none}</style>",
  "<a href=\"#\" onclick=\"window.pwned=9\">x</a>",
  "```html\n<script>window.pwned=10</script>\n```",
  "```\"><img src=x onerror=window.pwned=11>\ncode\n```",
  "`<img src=x onerror=window.pwned=12>`",
  "<math><mtext><table><mglyph><style><img src=x onerror=window.pwned=13></style></mglyph></table></mtext></math>",
  "<http://evil.example/\"onmouseover=window.pwned=14>",
  "[a]: javascript:window.pwned=15\n[a]",
  "| <img src=x onerror=window.pwned=16> | b |\n|---|---|\n| <b onclick=x>c</b> | d |",
  "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
  "<base href=https://evil.example/>",
];

function answerTo(question, count) {
  if (/\bmarkdown\b/.test(question)) return { content: markdownSample };
  if (/\bhostile\b/.test(question)) return { content: hostileMarkdown.join("\n\n") };
  if (/\bthink\b/.test(question)) {
    return { reasoning: "First the sum is split.\n\nThen **both halves** are added.", content: "The answer is 42." };
  }
  if (/\bslow\b/.test(question)) {
    return { content: Array.from({ length: 600 }, (_, i) => `word${i}${i % 12 === 11 ? ".\n\n" : " "}`).join(""), delay: 25 };
  }
  return { content: `Answer ${count}: ${question}` };
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Experts that come and go: a few are popular, and what was used lately is in memory. */
class MockMachine {
  constructor({ layers = 48, experts = 128, used = 8, vram = 5.2e9, ram = 9.4e9 } = {}) {
    const cells = layers * experts;
    this.info = {
      model: "mock-30b-a3b",
      layers,
      experts,
      used,
      budgets: { vram, ram },
      expert_bytes: cells * 2.9e6,
      backend: "Mock GPU, 6 GB + CPU, 6 cores",
    };
    this.tiers = new Uint8Array(cells);
    for (let i = 0; i < cells; ++i) this.tiers[i] = Math.random() < 0.13 ? 2 : Math.random() < 0.58 ? 1 : 0;
    if (vram === 0) this.tiers.forEach((tier, i) => (this.tiers[i] = Math.min(tier, 1)));
    this.events = 0;
    this.intervalMs = 250;
    this.next = {};  // fields of the next event, for tests
    this.always = {};  // of all from now on
  }

  event(first) {
    const { layers, experts, used } = this.info;
    const lit = new Set();
    const changes = [];
    for (let layer = 0; layer < layers && experts > 0; ++layer) {
      for (let k = 0; k < used; ++k) {
        const rank = Math.floor(experts * Math.random() ** 2.5);
        const index = layer * experts + ((rank * 37 + layer * 11) % experts);
        lit.add(index);
        if (this.tiers[index] === 0 && Math.random() < 0.2) {
          const victim = layer * experts + Math.floor(Math.random() * experts);
          if (this.tiers[victim] !== 1) continue;
          this.tiers[victim] = 0;
          this.tiers[index] = 1;
          changes.push([victim, 0], [index, 1]);
        }
      }
    }
    ++this.events;
    const wave = Math.sin(this.events / 9);
    const next = this.next;
    this.next = {};
    for (const [index, tier] of next.changes ?? []) if (index in this.tiers && tier <= 2) this.tiers[index] = tier;
    return {
      t: this.events * 250,
      ...(first || this.events % 20 === 0 ? { tiers: this.tiers.join("") } : {}),
      changes,
      lit: [...lit],
      memory: { vram: this.info.budgets.vram * 0.97, ram: this.info.budgets.ram * (0.9 + 0.04 * wave) },
      disk_rate: 1.9e9 + 8e8 * wave,
      link_rate: 4.2e9,
      tokens_per_second: 21 + 4 * wave + Math.random(),
      hits: { vram: 0.41, ram: 0.478 },
      token: { attention_ms: 9.1, cpu_ms: 19.4 + wave, gpu_ms: 8.2, waiting_ms: 6.3 - 3 * wave },
      ...this.always,
      ...next,
    };
  }
}

/** options: key (then every call but the page and health needs it), machine (MockMachine's), noMachine, loading. */
export async function start(options = {}, port = 0) {
  const machine = new MockMachine(options.machine);
  const requests = [];
  const streams = new Set();
  const state = { options, machine, requests, openStreams: 0, aborted: 0, count: 0 };
  state.dropStreams = () => streams.forEach((response) => response.destroy());

  const json = (response, status, value, headers = {}) => {
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(JSON.stringify(value));
  };
  const fail = (response, status, message, type, headers) =>
    json(response, status, { error: { code: status, message, type, param: null } }, headers);

  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    let text = "";
    for await (const piece of request) text += piece;
    const body = text ? JSON.parse(text) : undefined;
    requests.push({ method: request.method, path, body, authorization: request.headers.authorization });

    if (path === "/") {
      response.writeHead(200, {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
      });
      response.end(readFileSync(kPage));
      return;
    }
    if (path === "/health") {
      if (state.options.loading) fail(response, 503, "Loading model", "unavailable_error");
      else json(response, 200, { status: "ok" });
      return;
    }
    const { key } = state.options;
    if (key && request.headers.authorization !== `Bearer ${key}`) {
      fail(response, 401, "Invalid API Key", "authentication_error");
    } else if (path === "/v1/models") {
      json(response, 200, { object: "list", data: [{ id: "mock-30b-a3b", object: "model", meta: { n_ctx_train: 40960 } }] });
    } else if (path === "/props") {
      json(response, 200, {
        default_generation_settings: { params: { temperature: 0.7, top_p: 0.8, top_k: 20, min_p: 0, max_tokens: -1, seed: -1 }, n_ctx: 8192 },
      });
    } else if (path === "/machine" && !state.options.noMachine) {
      json(response, 200, machine.info);
    } else if (path === "/machine/stream" && !state.options.noMachine) {
      await machineStream(response);
    } else if (path === "/v1/chat/completions") {
      await chat(response, body);
    } else {
      fail(response, 404, "File Not Found", "not_found_error");
    }
  });

  async function machineStream(response) {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
    ++state.openStreams;
    streams.add(response);
    let open = true;
    response.on("close", () => {
      open = false;
      streams.delete(response);
      --state.openStreams;
    });
    for (let first = true; open; first = false) {
      response.write(`data: ${JSON.stringify(machine.event(first))}\n\n`);
      await sleep(machine.intervalMs);
    }
  }

  async function chat(response, body) {
    const question = body.messages.at(-1).content;
    if (/\bbusy\b/.test(question)) return fail(response, 429, "All slots are taken", "rate_limit_error", { "Retry-After": "7" });
    if (/\brefuse\b/.test(question)) return fail(response, 400, "temperature: <b>must</b> be a number", "invalid_request_error");
    const { reasoning = "", content, delay = 4 } = answerTo(question, ++state.count);
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
    let open = true;
    response.on("close", () => {
      open = false;
      if (!response.writableEnded) ++state.aborted;
    });
    const chunk = (delta, finish_reason = null, rest = {}) =>
      response.write(
        `data: ${JSON.stringify({
          id: "chatcmpl-1",
          object: "chat.completion.chunk",
          created: 1,
          model: body.model,
          choices: [{ index: 0, delta, finish_reason, logprobs: null }],
          ...rest,
        })}\n\n`,
      );
    response.write(": keep-alive\n\n");
    chunk({ role: "assistant", content: null });
    let tokens = 0;
    for (const [field, whole] of [["reasoning_content", reasoning], ["content", content]]) {
      for (const piece of whole.match(/[\s\S]{1,6}/gu) ?? []) {
        if (!open) return;
        if (/\bbreak\b/.test(question) && tokens === 2) return void response.destroy();
        if (/\bfault\b/.test(question) && tokens === 2) {
          response.end(`data: ${JSON.stringify({ error: { code: 500, message: "disk: read failed", type: "server_error" } })}\n\n`);
          return;
        }
        chunk({ [field]: piece });
        ++tokens;
        await sleep(delay);
      }
    }
    const timings = {
      cache_n: 12, prompt_n: 31, predicted_n: tokens, prompt_per_second: 412.5, predicted_per_second: 23.4, ttft_ms: 812,
      experts: { hit_vram: 900, hit_ram: 800, read_ssd: 100 },
    };
    chunk({}, "stop", { timings });
    const usage = {
      prompt_tokens: 43, completion_tokens: tokens, total_tokens: 43 + tokens, prompt_tokens_details: { cached_tokens: 12 },
    };
    response.write(`data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", choices: [], usage })}\n\n`);
    response.end("data: [DONE]\n\n");
  }

  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  state.url = `http://127.0.0.1:${server.address().port}/`;
  state.close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return state;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await start({}, Number(process.argv[2] ?? 8081));
  console.log(server.url);
}
