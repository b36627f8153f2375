// SPDX-License-Identifier: Apache-2.0
// Who reads with a phone, a keyboard, a screen reader, in Chinese, in the dark.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessibilityProblems, ask, lastAnswer, launch, withPage } from "./browser.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing (${colorScheme})`, () =>
    withPage(browser, { context: { colorScheme } }, async (page) => {
      await ask(page, "markdown and think");
      await lastAnswer(page);
      await ask(page, "think");
      await lastAnswer(page);
      await page.getByText("Reasoning").click();
      await page.getByRole("button", { name: "Show the machine" }).click();
      await page.locator("#tiers").waitFor();
      assert.deepEqual(await accessibilityProblems(page), []);
      await page.getByRole("button", { name: "Settings" }).click();
      assert.deepEqual(await accessibilityProblems(page), []);
    }));
}

test("360 pixels: nothing is cut off, everything can be reached", () =>
  withPage(browser, { context: { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true } }, async (page) => {
    const fits = async (what) =>
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${what} is wider than the screen`);
    await ask(page, `markdown ${"x".repeat(200)}`);
    await lastAnswer(page);
    await fits("chat");
    const small = await page.evaluate(() =>
      [...document.querySelectorAll(".turn p, .turn td, .turn code, .said")].filter((node) => parseFloat(getComputedStyle(node).fontSize) < 12).length);
    assert.equal(small, 0);
    await page.getByRole("button", { name: "Show conversations" }).click();
    await fits("conversations");
    await page.getByRole("navigation").getByRole("button", { name: /^markdown x/ }).click();
    await page.getByRole("button", { name: "Show the machine" }).click();
    await page.locator("#tiers").waitFor();
    await page.waitForTimeout(400);
    await fits("machine");
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.getByRole("button", { name: "Hide the machine" }).click();
    await page.getByRole("button", { name: "Settings" }).click();
    await fits("settings");
    const dialog = await page.getByRole("dialog").boundingBox();
    assert.ok(dialog.x >= 0 && dialog.x + dialog.width <= 360);
  }));

test("all by keyboard", () =>
  withPage(browser, {}, async (page) => {
    const focused = () => page.evaluate(() => {
      const node = document.activeElement;
      const text = node === document.body ? "the page" : (node.labels?.[0]?.textContent ?? node.textContent);
      return node.getAttribute("aria-label") ?? text.slice(0, 60);
    });
    const tabTo = async (name, key = "Tab") => {
      const seen = [];
      for (let i = 0; i < 30; ++i) {
        await page.keyboard.press(key);
        seen.push(await focused());
        if (seen.at(-1) === name) return;
      }
      assert.fail(`${name} cannot be reached: ${seen.join(" | ")}`);
    };
    await page.locator("#message:focus").waitFor();  // one can type at once
    await page.keyboard.type("line one");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("line two");
    await page.keyboard.press("Enter");
    await lastAnswer(page);
    assert.equal(await page.locator(".said").innerText(), "line one\nline two");
    assert.equal(await focused(), "Message");

    await tabTo("Edit", "Shift+Tab");
    await page.keyboard.press("Enter");
    assert.equal(await focused(), "Edit message");
    await page.keyboard.press("Escape");
    await page.waitForTimeout(100);
    assert.equal(await focused(), "Edit", "the focus comes back");

    await tabTo("Settings", "Shift+Tab");
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await tabTo("Seed");
    await page.keyboard.type("11");
    await page.keyboard.press("Escape");
    assert.equal(await focused(), "Settings");
    await tabTo("Show the machine", "Shift+Tab");
    await page.keyboard.press("Space");
    await page.getByRole("region", { name: "Machine" }).waitFor();

    await tabTo("Actions for “line one”", "Shift+Tab");
    await page.keyboard.press("Enter");
    await tabTo("Rename");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Control+a");
    await page.keyboard.type("renamed");
    await page.keyboard.press("Enter");
    await page.waitForTimeout(100);
    assert.equal(await focused(), "Actions for “renamed”");
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(ring, "none", "one sees where one is");
  }));

test("Enter that ends a word of an input method does not send", () =>
  withPage(browser, {}, async (page, server) => {
    await page.getByLabel("Message", { exact: true }).fill("ni hao");
    await page.evaluate(() => {
      const event = new KeyboardEvent("keydown", { key: "Enter", isComposing: true, bubbles: true, cancelable: true });
      document.getElementById("message").dispatchEvent(event);
    });
    await page.waitForTimeout(200);
    assert.equal(server.requests.filter(({ path }) => path === "/v1/chat/completions").length, 0);
  }));

test("a screen reader hears whole sentences, once, and the end", () =>
  withPage(browser, {}, async (page) => {
    await page.locator("[data-test=spoken]").waitFor({ state: "attached" });
    await page.evaluate(() => {
      window.heard = [];
      const region = document.querySelector("[data-test=spoken]");
      new MutationObserver(() => window.heard.push(region.textContent)).observe(region, { childList: true, characterData: true, subtree: true });
    });
    assert.equal(await page.locator("[data-test=spoken]").getAttribute("aria-live"), "polite");
    await ask(page, "slow");
    await page.locator(".turns").getByText("word30").waitFor();
    await page.keyboard.press("Escape");
    await lastAnswer(page);
    const heard = await page.evaluate(() => window.heard);
    assert.ok(heard.some((text) => /^word0 .*word11\.\s*$/.test(text)), JSON.stringify(heard));
    assert.equal(heard.join(" ").match(/word5 /g).length, 1);
    assert.match(heard.at(-1), /Stopped$/);
  }));

test("the reader who scrolled up stays there", () =>
  withPage(browser, { context: { viewport: { width: 1280, height: 420 } } }, async (page) => {
    await ask(page, "slow");
    const place = () => page.locator(".thread").evaluate((node) => [node.scrollTop, node.scrollHeight - node.clientHeight]);
    // Several times while it grows; between new text and the next frame there may be a line more.
    for (const word of ["word60", "word80", "word100"]) {
      await page.locator(".turns").getByText(word).waitFor();
      await page.waitForFunction(() => {
        const { scrollTop, scrollHeight, clientHeight } = document.querySelector(".thread");
        return scrollHeight > clientHeight && scrollHeight - clientHeight - scrollTop < 60;
      }, undefined, { timeout: 1000 });
    }
    await page.locator(".thread").hover();
    await page.mouse.wheel(0, -300);
    await page.waitForTimeout(500);
    const [up] = await place();
    await page.waitForTimeout(500);
    assert.equal((await place())[0], up);
    await page.getByRole("button", { name: "To the latest" }).click();
    await page.waitForTimeout(300);
    const [down, whole] = await place();
    assert.ok(whole - down < 60);
  }));

test("English and Chinese: by the browser, and by choice", () =>
  withPage(browser, { context: { locale: "zh-CN" } }, async (page) => {
    assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-Hans");
    await page.getByRole("button", { name: "设置" }).click();
    await page.getByLabel("语言").selectOption("en");
    await page.getByRole("heading", { name: "Settings" }).waitFor();
    await page.reload();
    await page.getByRole("button", { name: "New chat" }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), "en");
  }));

test("light and dark: by the system, and by choice", () =>
  withPage(browser, { context: { colorScheme: "dark" } }, async (page) => {
    const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await back();
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("Theme").selectOption("light");
    assert.equal(await back(), "rgb(255, 255, 255)");
    assert.notEqual(dark, "rgb(255, 255, 255)");
    await page.reload();
    assert.equal(await back(), "rgb(255, 255, 255)");
  }));
