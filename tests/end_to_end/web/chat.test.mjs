// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { hostileMarkdown } from "../../../web/tests/mock_server.mjs";
import { ask, lastAnswer, launch, withPage } from "./browser.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const chats = (server) => server.requests.filter(({ path }) => path === "/v1/chat/completions");
const setting = (page, name) => page.getByRole("dialog").getByLabel(name, { exact: true });

test("a question is answered in pieces, with figures", () =>
  withPage(browser, {}, async (page, server) => {
    await ask(page, "Tell me something slow");
    const text = page.getByRole("article", { name: "Answer" }).locator(".markdown");
    await text.getByText("word5").waitFor();
    const early = (await text.innerText()).length;
    assert.ok(!(await text.innerText()).includes("word599"), "the answer must grow, not come at once");
    await text.getByText("word30").waitFor();
    assert.ok((await text.innerText()).length > early);
    await page.getByRole("button", { name: "Stop" }).click();

    await ask(page, "Hello");
    const answer = await lastAnswer(page);
    assert.match(await answer.innerText(), /Answer 2: Hello/);
    assert.match(await answer.innerText(), /tokens · 23\.4 tok\/s · first after 812 ms · prompt 43, 12 cached · experts in memory 94 %/);
    const [, second] = chats(server);
    assert.deepEqual(second.body.messages.map(({ role }) => role), ["user", "assistant", "user"]);
    assert.equal(second.body.stream, true);
    assert.deepEqual(second.body.stream_options, { include_usage: true });
    assert.ok(!("temperature" in second.body), "without settings, the server's defaults hold");
    assert.equal(second.authorization, undefined);
  }));

for (const way of ["button", "Escape"]) {
  test(`stop (${way}) ends the request and keeps the text`, () =>
    withPage(browser, {}, async (page, server) => {
      await ask(page, "slow");
      await page.locator(".turns").getByText("word10").waitFor();
      if (way === "button") await page.getByRole("button", { name: "Stop" }).click();
      else await page.keyboard.press("Escape");
      const answer = await lastAnswer(page);
      const text = await answer.innerText();
      assert.match(text, /word10[\s\S]*Stopped/);
      await page.waitForTimeout(400);
      assert.equal(await answer.innerText(), text, "nothing arrives after the stop");
      assert.equal(server.aborted, 1, "the server must learn of it");
    }));
}

test("regenerate and edit make branches, and both ways stay", () =>
  withPage(browser, {}, async (page, server) => {
    await ask(page, "first");
    await (await lastAnswer(page)).getByRole("button", { name: "Answer again" }).click();
    await page.locator(".turns").getByText("Answer 2: first").waitFor();
    const answer = await lastAnswer(page);
    await answer.getByRole("group", { name: "2 of 2" }).waitFor();
    await answer.getByRole("button", { name: "Previous version" }).click();
    await page.locator(".turns").getByText("Answer 1: first").waitFor();

    await ask(page, "second");
    await page.locator(".turns").getByText("Answer 3: second").waitFor();
    await lastAnswer(page);
    await page.getByRole("button", { name: "Edit" }).first().click();
    await page.getByLabel("Edit message").fill("changed");
    await page.keyboard.press("Enter");
    await page.locator(".turns").getByText("Answer 4: changed").waitFor();
    await lastAnswer(page);
    assert.equal(await page.locator(".turns").getByText("second").count(), 0, "what followed the old question is on the other branch");
    assert.deepEqual(chats(server).at(-1).body.messages, [{ role: "user", content: "changed" }]);

    await page.getByRole("article", { name: "You" }).getByRole("button", { name: "Previous version" }).click();
    await page.locator(".turns").getByText("Answer 3: second").waitFor();
    assert.equal(await page.locator(".turns").getByText("Answer 1: first").count(), 1);
  }));

test("an edit can be cancelled", () =>
  withPage(browser, {}, async (page, server) => {
    await ask(page, "first");
    await lastAnswer(page);
    await page.getByRole("button", { name: "Edit" }).click();
    await page.getByLabel("Edit message").fill("changed");
    await page.keyboard.press("Escape");
    await page.locator(".said", { hasText: "first" }).waitFor();
    assert.equal(chats(server).length, 1);
  }));

test("a reload keeps conversations; they can be renamed, deleted and brought back", () =>
  withPage(browser, {}, async (page) => {
    await ask(page, "apples and pears");
    await lastAnswer(page);
    await page.getByRole("button", { name: "New chat" }).click();
    await ask(page, "oranges");
    await lastAnswer(page);
    await page.reload();
    await page.locator(".turns").getByText("Answer 2: oranges").waitFor();
    const list = page.getByRole("navigation", { name: "Conversations" });
    await list.getByRole("button", { name: "apples and pears", exact: true }).click();
    await page.locator(".turns").getByText("Answer 1: apples and pears").waitFor();

    await list.getByRole("button", { name: "Actions for “apples and pears”" }).click();
    await list.getByRole("button", { name: "Rename" }).click();
    await list.getByLabel("Rename").fill("fruit");
    await page.keyboard.press("Enter");
    await list.getByRole("button", { name: "fruit", exact: true }).waitFor();

    await list.getByRole("button", { name: "Actions for “fruit”" }).click();
    await list.getByRole("button", { name: "Delete" }).click();
    await page.getByText("“fruit” deleted").waitFor();
    assert.equal(await list.getByRole("button", { name: "fruit", exact: true }).count(), 0);
    await page.getByRole("button", { name: "Undo" }).click();
    await list.getByRole("button", { name: "fruit", exact: true }).waitFor();
    await list.getByRole("button", { name: "Actions for “oranges”" }).click();
    await list.getByRole("button", { name: "Delete" }).click();
    await page.getByText("“oranges” deleted").waitFor();
    await page.reload();
    await list.getByRole("button", { name: "fruit", exact: true }).waitFor();
    assert.equal(await list.getByRole("button", { name: "oranges", exact: true }).count(), 0);
  }));

test("a conversation deleted while it is answered comes back with what there was", () =>
  withPage(browser, {}, async (page) => {
    await ask(page, "slow");
    await page.locator(".turns").getByText("word20").waitFor();
    await page.getByRole("button", { name: "Actions for “slow”" }).click();
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("button", { name: "Undo" }).click();
    assert.match(await (await lastAnswer(page)).innerText(), /word10 [\s\S]*Stopped/);
  }));

test("a reload while an answer is written keeps what was there", () =>
  withPage(browser, {}, async (page) => {
    await ask(page, "slow");
    await page.locator(".turns").getByText("word80").waitFor();
    await page.reload();
    const text = await (await lastAnswer(page)).innerText();
    assert.match(text, /word20 [\s\S]*Stopped/);
  }));

test("export and import", () =>
  withPage(browser, {}, async (page) => {
    await ask(page, "keep this");
    await lastAnswer(page);
    const [all] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export all" }).click()]);
    const path = await all.path();
    assert.equal(JSON.parse(await readFile(path, "utf8")).conversations[0].turns[1].content, "Answer 1: keep this");
    await page.getByRole("button", { name: "Actions for “keep this”" }).click();
    const [one] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Export as Markdown" }).click()]);
    assert.equal(one.suggestedFilename(), "keep this.md");
    assert.equal(await readFile(await one.path(), "utf8"), "# keep this\n\n## You\n\nkeep this\n\n## Answer\n\nAnswer 1: keep this\n");

    await page.getByRole("button", { name: "Actions for “keep this”" }).click();
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByText("Nothing here yet").waitFor();
    await page.locator("input[type=file]").setInputFiles(path);
    await page.getByRole("button", { name: "keep this", exact: true }).click();
    await page.locator(".turns").getByText("Answer 1: keep this").waitFor();
    await page.locator("input[type=file]").setInputFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from('{"a":[]}') });
    await page.getByText("x.json: not an export of this page").waitFor();
  }));

test("settings reach the request and stay; wrong ones do not", () =>
  withPage(browser, {}, async (page, server) => {
    await page.getByRole("button", { name: "Settings" }).click();
    assert.equal(await setting(page, "Temperature").getAttribute("placeholder"), "0.7", "the server's default is the hint");
    const values = { Temperature: "0.25", "Top p": "0.9", "Top k": "40", "Min p": "0.05", "Maximum tokens": "77", Seed: "5" };
    for (const [name, value] of Object.entries(values)) await setting(page, name).fill(value);
    await setting(page, "System prompt").fill("Be brief.");
    await setting(page, "Top p").fill("7");
    await page.getByText("Top p: a number from 0 to 1").waitFor();
    await page.keyboard.press("Escape");
    await page.reload();
    await ask(page, "hello");
    await lastAnswer(page);
    const { body } = chats(server)[0];
    const { temperature, top_p, top_k, min_p, max_tokens, seed } = body;
    assert.deepEqual([temperature, top_p, top_k, min_p, max_tokens, seed], [0.25, 0.9, 40, 0.05, 77, 5]);
    assert.deepEqual(body.messages[0], { role: "system", content: "Be brief." });
  }));

test("an API key is asked for, used, and kept for the tab only", () =>
  withPage(browser, { server: { key: "secret-1" }, expectErrors: /401/ }, async (page, server) => {
    const line = page.getByRole("status").filter({ hasText: "The server wants an API key" });
    await line.getByRole("button", { name: "Settings" }).click();
    await setting(page, "API key").fill("secret-1");
    await page.keyboard.press("Escape");
    await page.getByRole("heading", { name: "mock-30b-a3b" }).waitFor();
    await ask(page, "hello");
    await lastAnswer(page);
    assert.equal(chats(server)[0].authorization, "Bearer secret-1");
    const kept = await page.evaluate(() => [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })]);
    assert.ok(!kept[0].includes("secret-1"));
    assert.ok(kept[1].includes("secret-1"));
    await page.reload();
    await page.getByRole("heading", { name: "mock-30b-a3b" }).waitFor();
  }));

test("reasoning is folded", () =>
  withPage(browser, {}, async (page, server) => {
    await ask(page, "think");
    const answer = await lastAnswer(page);
    assert.ok(await answer.getByText("The answer is 42.").isVisible());
    assert.ok(!(await answer.getByText("both halves").isVisible()));
    await answer.getByText("Reasoning").click();
    assert.ok(await answer.getByText("both halves").isVisible());
    await ask(page, "more");
    await lastAnswer(page);
    assert.ok(!JSON.stringify(chats(server).at(-1).body).includes("both halves"), "earlier reasoning is not sent again");
  }));

test("errors are told in words, and the page goes on", () =>
  withPage(browser, { expectErrors: /429|400|ERR_|Failed to load/ }, async (page, server) => {
    for (const [question, text] of [
      ["busy", "The server is busy. Try again in 7 s."],
      ["refuse", "The server answered with an error (400): temperature: <b>must</b> be a number"],
      ["break", "The connection broke before the answer was complete."],
      ["fault", "disk: read failed"],
    ]) {
      await ask(page, question);
      assert.ok((await (await lastAnswer(page)).innerText()).includes(text), `${question}: ${text}`);
    }
    await ask(page, "hello");
    assert.match(await (await lastAnswer(page)).innerText(), /: hello/);
    const { messages } = chats(server).at(-1).body;
    assert.ok(messages.every(({ content }) => content !== ""), "answers that never began are not sent again");
  }));

test("a server that is still loading is waited for", () =>
  withPage(browser, { server: { loading: true }, expectErrors: /503/ }, async (page, server) => {
    await page.getByText("The model is being loaded.").waitFor();
    server.options.loading = false;
    await page.getByRole("heading", { name: "mock-30b-a3b" }).waitFor();
    assert.equal(await page.getByText("The model is being loaded.").count(), 0);
  }));

test("markdown: lists, tables, code with colours and a copy button", () =>
  withPage(browser, { context: { permissions: ["clipboard-read", "clipboard-write"] } }, async (page) => {
    await ask(page, "markdown");
    const answer = await lastAnswer(page);
    assert.equal(await answer.locator("table tr").count(), 3);
    assert.equal(await answer.locator("ol > li").count(), 2);
    assert.ok((await answer.locator(".hljs-keyword").count()) > 0);
    const link = answer.getByRole("link", { name: "the notes" });
    assert.equal(await link.getAttribute("rel"), "noopener noreferrer nofollow");
    assert.equal(await link.getAttribute("target"), "_blank");
    await answer.getByRole("button", { name: "Copy code" }).click();
    await answer.getByRole("button", { name: "Copied" }).waitFor();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^\/\/ the sum keeps its order\nfor [\s\S]*}\n$/);
  }));

test("hostile markdown has no effect", () =>
  withPage(browser, {}, async (page) => {
    const check = async () => {
      const found = await page.evaluate(() => ({
        pwned: window.pwned,
        tags: [...document.querySelectorAll(".turns :is(script, img, svg:not(.icon-image), iframe, form, style, math, meta, base, object, embed)")].length,
        handlers: [...document.querySelectorAll(".turns *")].flatMap((node) => node.getAttributeNames()).filter((name) => name.startsWith("on")),
        links: [...document.querySelectorAll(".turns a")].map((link) => link.protocol).filter((name) => !/^(https?|mailto):$/.test(name)),
      }));
      assert.deepEqual(found, { pwned: undefined, tags: 0, handlers: [], links: [] });
    };
    await ask(page, "hostile");
    const answer = await lastAnswer(page);
    await check();
    assert.ok((await answer.innerText()).includes("<script>window.pwned=1</script>"), "it is shown as the text that it is");
    for (const link of await answer.locator("a").all()) assert.match(await link.getAttribute("href"), /^(https?|mailto):/);
    // The same from the other sides: a question, a title, a reload.
    await ask(page, hostileMarkdown.slice(0, 4).join("\n"));
    await lastAnswer(page);
    await page.reload();
    await page.getByRole("article").first().waitFor();
    await check();
  }));

test("the page's policy refuses scripts, HTML and hosts that are not its own", () =>
  withPage(browser, { expectErrors: /Content Security Policy|Trusted|Refused|TrustedHTML/i }, async (page) => {
    const tried = await page.evaluate(async () => {
      const script = document.createElement("script");
      let inline = "blocked";
      try {
        script.textContent = "window.pwned = 1";
        document.head.append(script);
        if (window.pwned) inline = "ran";
      } catch {}
      let html = "allowed";
      try {
        document.createElement("div").innerHTML = "<b>x</b>";
      } catch {
        html = "blocked";
      }
      const fetched = await fetch("http://127.0.0.2:9/").then(() => "allowed", () => "blocked");
      return [inline, html, fetched];
    });
    assert.deepEqual(tried, ["blocked", "blocked", "blocked"]);
  }));
