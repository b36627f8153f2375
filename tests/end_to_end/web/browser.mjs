// SPDX-License-Identifier: Apache-2.0
// A browser with the page open, and what every test checks besides its own: no console errors, no request to elsewhere.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { start } from "../../../web/tests/mock_server.mjs";

const kPaths = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const kArguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

export async function launch() {
  const executablePath = kPaths.find((path) => path && existsSync(path));
  return chromium.launch({ executablePath, args: kArguments });
}

/**
 * Runs `body` on a fresh page; options: server (the mock's), running (a server that is there already: {url}), context (Playwright's),
 * expectErrors (a pattern of allowed ones).
 */
export async function withPage(browser, options, body) {
  const server = options.running ?? (await start(options.server));
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: "en-US", ...options.context });
  const problems = [];
  const allowed = (text) => options.expectErrors?.test(text);
  context.on("request", (request) => {
    if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(server.url)) problems.push(`outside request: ${request.url()}`);
  });
  const watch = (page) => {
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type()) && !allowed(message.text())) problems.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => problems.push(`exception: ${error.message}`));
  };
  context.on("page", watch);
  const page = await context.newPage();
  page.setDefaultTimeout(8000);
  try {
    await page.goto(server.url);
    await body(page, server, context);
    assert.deepEqual(problems, []);
  } finally {
    await context.close();
    if (!options.running) await server.close();
  }
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds wrong, in words. Its script is run by the debugger, which the page's policy does not bind. */
export async function accessibilityProblems(page) {
  await page.evaluate(axe);
  const result = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return result.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 120)} (${node.failureSummary})`));
}

/** Asks, and waits until the answer has its place. */
export async function ask(page, text) {
  const answers = page.getByRole("article", { name: "Answer" });
  const before = await answers.count();
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
  await answers.nth(before).waitFor();
}

/** The last answer, once it is complete. */
export async function lastAnswer(page) {
  const answer = page.getByRole("article", { name: "Answer" }).last();
  await answer.getByRole("button", { name: "Answer again" }).waitFor();
  return answer;
}
