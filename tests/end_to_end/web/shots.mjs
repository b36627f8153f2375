// SPDX-License-Identifier: Apache-2.0
// Pictures of the page for the eye: node shots.mjs FOLDER
// node shots.mjs FOLDER URL QUESTION...: web.png of the server there, for docs/images.
import { ask, lastAnswer, launch, withPage } from "./browser.mjs";

const folder = process.argv[2] ?? ".";
const browser = await launch();
const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2 };

const [url, ...questions] = process.argv.slice(3);
if (url) {
  await withPage(browser, { running: { url }, context: { viewport: { width: 1180, height: 740 }, colorScheme: "light" } }, async (page) => {
    await page.getByRole("button", { name: "Show the machine" }).click();
    await page.locator("#tiers").waitFor();
    for (const question of questions) {
      await ask(page, question);
      await lastAnswer(page);
    }
    await page.waitForTimeout(300);  // what the last answer used still glows
    await page.screenshot({ path: `${folder}/web.png` });
  });
  await browser.close();
  process.exit();
}

async function fill(page) {
  await ask(page, "What is a router? Please use markdown");
  await lastAnswer(page);
  await ask(page, "Can you think about it?");
  await lastAnswer(page);
}

for (const [name, context] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { ...phone, colorScheme: "light" }],
  ["chinese", { colorScheme: "dark", locale: "zh-CN" }],
]) {
  await withPage(browser, { context }, async (page) => {
    if (name === "chinese") {
      await page.getByRole("button", { name: "显示机器状态" }).click();
      await page.locator(".said, .empty").first().waitFor();
      await page.waitForTimeout(2500);
      await page.screenshot({ path: `${folder}/chinese.png` });
      return;
    }
    await fill(page);
    await page.screenshot({ path: `${folder}/${name}.png` });
    await page.getByRole("button", { name: "Show the machine" }).click();
    await page.waitForTimeout(2500);
    await page.screenshot({ path: `${folder}/${name}-machine.png` });
    await page.getByRole("button", { name: "Settings" }).click();
    await page.screenshot({ path: `${folder}/${name}-settings.png` });
  });
}
await withPage(browser, { server: { machine: { experts: 512, used: 10 } }, context: { viewport: { width: 1700, height: 950 }, colorScheme: "dark" } }, async (page) => {
  await fill(page);
  await page.getByRole("button", { name: "Show the machine" }).click();
  await page.waitForTimeout(2500);
  await page.screenshot({ path: `${folder}/wide-512.png` });
});
await browser.close();
