// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, withPage } from "./browser.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const open = (page) => page.getByRole("button", { name: "Show the machine" }).click();
const panel = (page) => page.getByRole("region", { name: "Machine" });
const pixels = (page) => page.evaluate(() => document.querySelector(".map canvas").toDataURL());

test("the machine view shows tiers, memory and rates, and moves", () =>
  withPage(browser, {}, async (page, server) => {
    assert.equal(server.requests.filter(({ path }) => path.startsWith("/machine")).length, 0, "nothing is asked while it is closed");
    await open(page);
    const view = panel(page);
    await view.getByRole("img", { name: "Map of experts: 48 layers of 128 experts, 8 used per token" }).waitFor();
    await view.getByText(/^2\d\.\d tok\/s$/).waitFor();
    await view.getByText(/^4\.70 GiB of 4\.84 GiB$/).waitFor();
    const text = await view.innerText();
    for (const word of ["Mock GPU", "GiB/s", "41 %", "48 %", "Attention", "9.1 ms", "Waiting", "By layer"]) assert.ok(text.includes(word), word);
    const counts = await view.locator("#tiers dd").allInnerTexts();
    const sum = counts.slice(0, 3).reduce((all, count) => all + Number(count.replace(",", "")), 0);
    assert.equal(sum, 48 * 128, "every expert is in exactly one tier");
    const one = await pixels(page);
    await page.waitForTimeout(700);
    assert.notEqual(await pixels(page), one);
  }));

test("a cell has its tier's colour, and an expert that is used lights up and fades", () =>
  withPage(browser, { server: { machine: { layers: 2, experts: 4, used: 0 } }, context: { colorScheme: "dark" }, expectErrors: /willReadFrequently/ }, async (page, server) => {
    server.machine.tiers.set([0, 1, 2, 0, 0, 0, 0, 2]);
    await open(page);
    await page.locator("#tiers dd", { hasText: "5" }).waitFor();
    const colours = () => page.evaluate(() => {
      const canvas = document.querySelector(".map canvas");
      const context = canvas.getContext("2d");
      const cell = canvas.width / 4;
      const row = canvas.height / 2;
      return [0, 1, 2, 3, 4, 5, 6, 7].map((i) => context.getImageData((i % 4) * cell + 2, Math.floor(i / 4) * row + 2, 1, 1).data.slice(0, 3).join());
    });
    const [ssd, ram, vram] = ["52,58,66", "47,111,181", "201,133,24"];
    assert.deepEqual(await colours(), [ssd, ram, vram, ssd, ssd, ssd, ssd, vram]);
    server.machine.next = { lit: [5], changes: [[0, 2], [99, 1], [1, 7]] };
    await page.waitForFunction(() => {
      const canvas = document.querySelector(".map canvas");
      const data = canvas.getContext("2d").getImageData(canvas.width / 4 + 2, canvas.height / 2 + 2, 1, 1).data;
      return data[0] > 200 && data[1] > 200 && data[2] > 200;
    }, undefined, { polling: 30 });
    await page.waitForTimeout(1600);
    assert.deepEqual(await colours(), [vram, ram, vram, ssd, ssd, ssd, ssd, vram]);
  }));

test("a server that cannot tell attention from the GPU's other work", () =>
  withPage(browser, {}, async (page, server) => {
    await open(page);
    await panel(page).getByText("9.1 ms").waitFor();
    server.machine.always = { token: { gpu_ms: 7.5, cpu_ms: 2.5, waiting_ms: 0 } };
    await panel(page).getByText("7.5 ms").waitFor();
    const names = await panel(page).getByRole("region", { name: "Last token" }).locator("dt").allInnerTexts();
    assert.deepEqual(names.map((name) => name.trim()), ["GPU", "CPU experts", "Waiting"]);
  }));

test("nothing is asked or drawn while the page is hidden or the view closed", () =>
  withPage(browser, {}, async (page, server) => {
    await open(page);
    await panel(page).getByText("tok/s").waitFor();
    assert.equal(server.openStreams, 1);
    const hide = (hidden) => page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    await hide(true);
    await page.waitForTimeout(500);
    assert.equal(server.openStreams, 0);
    const still = await pixels(page);
    await page.waitForTimeout(500);
    assert.equal(await pixels(page), still);
    await hide(false);
    await page.waitForTimeout(700);
    assert.equal(server.openStreams, 1);
    assert.notEqual(await pixels(page), still);
    await panel(page).getByRole("button", { name: "Close" }).click();
    await page.waitForTimeout(500);
    assert.equal(server.openStreams, 0);
  }));

test("at most four updates a second, however fast the server is", () =>
  withPage(browser, {}, async (page, server) => {
    server.machine.intervalMs = 20;
    await open(page);
    await panel(page).getByText("tok/s").waitFor();
    const paints = await page.evaluate(async () => {
      const polyline = document.querySelector(".series polyline");
      let count = 0;
      new MutationObserver(() => ++count).observe(polyline, { attributes: true });
      await new Promise((resolve) => setTimeout(resolve, 2000));
      return count;
    });
    assert.ok(paints >= 4 && paints <= 9, `${paints} updates in two seconds`);
  }));

test("the stream is found again after the server was away", () =>
  withPage(browser, { expectErrors: /ERR_|Failed to load/ }, async (page, server) => {
    await open(page);
    await panel(page).getByText("tok/s").waitFor();
    server.dropStreams();
    await panel(page).getByText("Connecting").waitFor();
    await panel(page).getByText("Connecting").waitFor({ state: "detached" });
    assert.equal(server.openStreams, 1);
  }));

test("512 experts per layer, no GPU, no experts, no machine", async () => {
  await withPage(browser, { server: { machine: { experts: 512, used: 10, vram: 0 } } }, async (page) => {
    await open(page);
    await page.locator("#tiers dd").nth(1).waitFor();
    assert.ok(!(await panel(page).innerText()).includes("VRAM"), "without a GPU, nothing speaks of its memory");
    const size = await page.locator(".map canvas").boundingBox();
    assert.ok(size.width > 300 && size.height < 900, JSON.stringify(size));
  });
  await withPage(browser, { server: { machine: { experts: 0 } } }, async (page) => {
    await open(page);
    await page.getByText("This model has no experts to show.").waitFor();
    await panel(page).getByText(/tok\/s/).waitFor();
  });
  await withPage(browser, { server: { noMachine: true }, expectErrors: /404/ }, async (page) => {
    await open(page);
    await page.getByText("The server does not tell what the machine is doing.").waitFor();
  });
});

test("the map in words: the cell under the pointer, a table by layer", () =>
  withPage(browser, { server: { machine: { layers: 3, experts: 16, used: 0 } } }, async (page, server) => {
    server.machine.tiers.fill(1);
    server.machine.tiers[17] = 2;
    await open(page);
    await page.locator("#tiers dd", { hasText: "47" }).waitFor();
    const canvas = page.locator(".map canvas");
    const { width, height } = await canvas.boundingBox();
    await canvas.hover({ position: { x: (width / 16) * 1.5, y: (height / 3) * 1.5 } });
    await page.getByText("Layer 1, expert 1: VRAM").waitFor();
    await panel(page).getByText("By layer").click();
    assert.deepEqual(await page.getByRole("row").nth(2).getByRole("cell").allInnerTexts(), ["1", "15", "0"]);
  }));
