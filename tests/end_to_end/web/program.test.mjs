// SPDX-License-Identifier: Apache-2.0
// The page as the program serves it, with a model.
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { readFileSync } from "node:fs";
import { accessibilityProblems, ask, lastAnswer, launch, withPage } from "./browser.mjs";
import { hasProgram, serve, serveWithLittleMemory } from "./program.mjs";

const panel = (page) => page.getByRole("region", { name: "Machine" });
const openMachine = (page) => page.getByRole("button", { name: "Show the machine" }).click();

/** Without fetch, which unpacks. */
function plain(url, path, headers = {}, method = "GET") {
  return new Promise((resolve, reject) => {
    const sent = request(new URL(path, url), { method, headers }, async (response) => {
      const pieces = [];
      for await (const piece of response) pieces.push(piece);
      resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(pieces) });
    });
    sent.on("error", reject);
    sent.end();
  });
}

/** The first `count` events of a machine's stream. */
async function events(server, count, headers = {}) {
  const control = new AbortController();
  const response = await fetch(`${server.url}machine/stream`, { headers, signal: control.signal });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  const found = [];
  let text = "";
  try {
    for await (const bytes of response.body) {
      text += Buffer.from(bytes).toString();
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) if (block.startsWith("data: ")) found.push(JSON.parse(block.slice(6)));
      if (found.length >= count) return found;
    }
  } finally {
    control.abort();
  }
  throw new Error("the stream has ended");
}

describe("the program's page", { skip: !hasProgram && "SLUICE names no program" }, () => {
  let browser;
  let server;  // answers
  let tight;   // goes on and on, and reads experts meanwhile
  before(async () => {
    browser = await launch();
    server = await serve("-np", "2");
    const template = "{% for message in messages %}{{ message.content }}{% endfor %}";
    tight = await serveWithLittleMemory("--chat-template", template, "-t", "1");
  });
  after(async () => {
    await browser.close();
    await server.stop();
    await tight.stop();
  });

  test("is the committed file, packed, and says how it may be used", async () => {
    const packed = await plain(server.url, "/", { "Accept-Encoding": "br, gzip" });
    assert.equal(packed.status, 200);
    assert.equal(packed.headers["content-encoding"], "gzip");
    assert.equal(packed.headers["content-type"], "text/html; charset=utf-8");
    assert.equal(packed.headers["x-content-type-options"], "nosniff");
    assert.equal(packed.headers["referrer-policy"], "no-referrer");
    const policy = packed.headers["content-security-policy"];
    assert.match(policy, /^default-src 'none'; script-src 'sha256-[^']+'; .*frame-ancestors 'none'$/);
    assert.ok(!/unsafe|http/.test(policy), policy);
    const page = readFileSync(new URL("../../../web/dist/index.html", import.meta.url));
    assert.ok(gunzipSync(packed.body).equals(page));

    const unpacked = await plain(server.url, "/index.html");
    assert.equal(unpacked.headers["content-encoding"], undefined);
    assert.ok(unpacked.body.equals(page));
    assert.ok((await plain(server.url, "/", { "Accept-Encoding": "gzip;q=0, br" })).body.equals(page));

    const again = await plain(server.url, "/", { "If-None-Match": `"x", ${packed.headers.etag}`, "Accept-Encoding": "gzip" });
    assert.deepEqual([again.status, again.body.length], [304, 0]);
    assert.equal(again.headers.etag, packed.headers.etag);
    const head = await plain(server.url, "/", { "Accept-Encoding": "gzip" }, "HEAD");
    assert.deepEqual([head.status, head.body.length], [200, 0]);
    assert.equal((await plain(server.url, "/", {}, "POST")).status, 405);
  });

  test("can be switched off", async () => {
    const bare = await serve("--no-webui");
    try {
      assert.equal((await plain(bare.url, "/")).status, 404);
      assert.equal((await plain(bare.url, "/index.html")).status, 404);
      assert.equal((await plain(bare.url, "/machine")).status, 200, "other clients may watch");
    } finally {
      await bare.stop();
    }
  });

  test("answers, again, after an edit, and remembers", () =>
    withPage(browser, { running: server }, async (page) => {
      await page.getByRole("heading", { name: "sluice-tiny.gguf" }).waitFor();
      await ask(page, "What is 347 + 285?");
      const answer = await lastAnswer(page);
      assert.match(await answer.innerText(), /347 \+ 285 = 632/);
      assert.match(await answer.innerText(), /\d+ tokens · [\d.,]+ tok\/s · first after [\d.,]+ m?s · prompt \d+.* · experts in memory [\d.,]+ %/);
      await answer.getByRole("button", { name: "Answer again" }).click();
      await answer.getByRole("group", { name: "2 of 2" }).waitFor();
      assert.match(await (await lastAnswer(page)).innerText(), /347 \+ 285 = 632/);

      await page.getByRole("button", { name: "Edit" }).click();
      await page.getByLabel("Edit message").fill("What is 12 + 30?");
      await page.keyboard.press("Enter");
      await page.locator(".turns").getByText("12 + 30 = 42").waitFor();
      await lastAnswer(page);
      await page.reload();
      await page.locator(".turns").getByText("12 + 30 = 42").waitFor();
      await page.getByRole("article", { name: "You" }).getByRole("button", { name: "Previous version" }).click();
      await page.locator(".turns").getByText("347 + 285 = 632").waitFor();
      await ask(page, "你好");
      assert.match(await (await lastAnswer(page)).locator(".markdown").innerText(), /\p{Script=Han}/u);
    }));

  test("tells a prompt that is too long in the server's words", () =>
    withPage(browser, { running: server, expectErrors: /400|Failed to load/ }, async (page) => {
      await page.getByRole("button", { name: "Settings" }).click();
      const setting = (name) => page.getByRole("dialog").getByLabel(name, { exact: true });
      await setting("System prompt").fill("x ".repeat(4000));
      await page.keyboard.press("Escape");
      await ask(page, "Hello");
      assert.match(await (await lastAnswer(page)).innerText(), /error \(400\): the prompt has \d+ tokens, the context \d+/);
    }));

  test("streams, and stops the server's work", () =>
    withPage(browser, { running: tight }, async (page) => {
      await ask(page, "The licensee may copy and distribute the program");
      const text = page.getByRole("article", { name: "Answer" }).locator(".markdown");
      const length = async () => (await text.innerText()).length;
      await page.waitForFunction(() => document.querySelector(".turn .markdown")?.innerText.length > 40);
      const early = await length();
      await page.waitForFunction((before) => document.querySelector(".turn .markdown").innerText.length > before + 40, early);
      await page.getByRole("button", { name: "Stop" }).click();
      const answer = await lastAnswer(page);
      assert.match(await answer.innerText(), /Stopped/);
      const stopped = await length();
      await page.waitForTimeout(400);
      assert.equal(await length(), stopped, "nothing arrives after the stop");
      const slots = await tight.get("slots");
      assert.ok(slots.every((slot) => !slot.is_processing), "the slot is free again");
    }));

  test("shows experts that come and go", () =>
    withPage(browser, { running: tight }, async (page) => {
      await openMachine(page);
      const view = panel(page);
      await view.getByRole("img", { name: "Map of experts: 6 layers of 16 experts, 4 used per token" }).waitFor();
      const pixels = () => page.evaluate(() => document.querySelector(".map canvas").toDataURL());
      await ask(page, "The licensee may copy and distribute the program");
      await view.getByText(/^[1-9][\d,.]* tok\/s$/).waitFor();
      const counts = (await view.locator("#tiers dd").allInnerTexts()).filter((count) => count !== "");
      assert.equal(counts.length, 2, "no GPU, no VRAM");
      assert.equal(counts.reduce((all, count) => all + Number(count), 0), 96, "every expert is in one tier");
      assert.ok(Number(counts[0]) > 0 && Number(counts[1]) > 0, `RAM ${counts[0]}, SSD ${counts[1]}`);
      const one = await pixels();
      await page.waitForFunction((before) => document.querySelector(".map canvas").toDataURL() !== before, one);
      const text = await view.innerText();
      for (const pattern of [/\d MiB of \d/, /Attention/, /CPU experts/, /\d ms/, /\d %/, /iB\/s/]) assert.match(text, pattern);
      assert.ok(!text.includes("GPU"), text);
      await page.getByRole("button", { name: "Stop" }).click();
      await lastAnswer(page);
      await view.getByText(/^0(\.0)? tok\/s$/).waitFor();
    }));

  test("the machine's stream has what its description promises", async () => {
    const machine = await tight.get("machine");
    assert.deepEqual([machine.layers, machine.experts, machine.used], [6, 16, 4]);
    assert.equal(machine.model, "sluice-tiny.gguf");
    assert.equal(machine.budgets.vram, 0);
    assert.ok(machine.budgets.ram > 1e7 && machine.expert_bytes > 1e6 && machine.backend.length > 3, JSON.stringify(machine));
    const answer = fetch(`${tight.url}v1/completions`, {
      method: "POST",
      body: JSON.stringify({ prompt: "The kernel", max_tokens: 1500, ignore_eos: true }),
    });
    const all = await events(tight, 6);
    (await answer).body.cancel();
    assert.match(all[0].tiers, /^[012]{96}$/);
    const tiers = [...all[0].tiers].map(Number);
    let lit = 0;
    let moved = 0;
    for (const [n, event] of all.entries()) {
      if (n > 0) assert.ok(event.t - all[n - 1].t >= 200, "at most four a second");
      for (const [index, tier] of n > 0 ? event.changes : []) {
        assert.notEqual(tiers[index], tier);
        tiers[index] = tier;
        ++moved;
      }
      if (event.tiers) assert.equal(tiers.join(""), event.tiers);
      for (const index of event.lit) assert.ok(index >= 0 && index < 96);
      lit += event.lit.length;
      assert.ok(event.memory.ram > 1e7, "the process is in memory");
    }
    assert.ok(lit > 24, `${lit} experts lit up`);
    assert.ok(moved > 0, "some came and left");
    const last = all.at(-1);
    assert.ok(last.tokens_per_second > 0 && last.disk_rate > 0, JSON.stringify(last));
    assert.ok(last.hits.ram > 0 && last.hits.ram < 1, JSON.stringify(last.hits));
    assert.ok(last.token.cpu_ms > 0 && last.token.attention_ms > 0 && last.token.waiting_ms >= 0, JSON.stringify(last.token));
    const repeated = await events(tight, 21);
    assert.ok(repeated.slice(1).some(({ tiers: text }) => text), "all tiers are told again now and then");
  });

  test("several may watch, not any number; all end with the server", async () => {
    const many = await serve();
    const control = new AbortController();
    try {
      const streams = [];
      for (let n = 0; n < 32; ++n) streams.push(await fetch(`${many.url}machine/stream`, { signal: control.signal }));
      assert.ok(streams.every(({ status }) => status === 200));
      const refused = await fetch(`${many.url}machine/stream`);
      assert.equal(refused.status, 429);
      assert.match((await refused.json()).error.message, /32 clients watch already/);
      streams[0].body.cancel();
      await new Promise((resolve) => setTimeout(resolve, 400));
      streams[0] = await fetch(`${many.url}machine/stream`, { signal: control.signal });
      assert.equal(streams[0].status, 200, "who goes makes room");
      for (const stream of streams) {
        const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
        stream.begin = "";
        while (!stream.begin.includes("\n\n")) stream.begin += (await reader.read()).value;
        assert.match(stream.begin, /^data: .*"tiers":"[012]{96}"/);
        stream.end = (async () => {
          while (!(await reader.read()).done);
        })();
      }
      await many.stop();
      await Promise.all(streams.map(({ end }) => end));
    } finally {
      control.abort();
      await many.stop();
    }
  });

  test("with a key: the page comes without, everything else asks for it", async () => {
    const locked = await serve("--api-key", "secret-2");
    try {
      for (const path of ["machine", "machine/stream"]) assert.equal((await plain(locked.url, `/${path}`)).status, 401);
      await events(locked, 1, { Authorization: "Bearer secret-2" });
      await withPage(browser, { running: locked, expectErrors: /401/ }, async (page) => {
        const line = page.getByRole("status").filter({ hasText: "The server wants an API key" });
        await line.getByRole("button", { name: "Settings" }).click();
        await page.getByRole("dialog").getByLabel("API key", { exact: true }).fill("secret-2");
        await page.keyboard.press("Escape");
        await page.getByRole("heading", { name: "sluice-tiny.gguf" }).waitFor();
        await ask(page, "What is 12 + 30?");
        assert.match(await (await lastAnswer(page)).innerText(), /12 \+ 30 = 42/);
        await openMachine(page);
        await panel(page).getByText("tok/s").waitFor();
      });
    } finally {
      await locked.stop();
    }
  });

  test("by keyboard on a phone's width, with names for screen readers", () =>
    withPage(browser, { running: server, context: { viewport: { width: 360, height: 640 } } }, async (page) => {
      await page.locator("#message:focus").waitFor();
      await page.keyboard.type("Sort these words: pear, apple, zebra");
      await page.keyboard.press("Enter");
      assert.match(await (await lastAnswer(page)).innerText(), /apple, pear, zebra/);
      const button = page.getByRole("button", { name: "Show the machine" });
      for (let n = 0; n < 30 && !(await button.evaluate((node) => node === document.activeElement)); ++n) await page.keyboard.press("Shift+Tab");
      await page.keyboard.press("Enter");
      await panel(page).locator("#tiers").waitFor();
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      assert.deepEqual(await accessibilityProblems(page), []);
    }));
});
