// SPDX-License-Identifier: Apache-2.0
// `sluice serve` under test: SLUICE is the program, SLUICE_ROOT the checkout.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { SLUICE, SLUICE_ROOT } = process.env;
export const hasProgram = Boolean(SLUICE && SLUICE_ROOT);
export const tinyModel = join(SLUICE_ROOT ?? "", "models/sluice-tiny.gguf");

/** Resolves to {url, get, stop} when it listens, or rejects with what it said. */
export function serve(...flags) {
  const cache = mkdtempSync(join(tmpdir(), "sluice-web-"));
  const child = spawn(SLUICE, ["serve", "-m", tinyModel, "--port", "0", "--disk-profile", "off", ...flags], {
    env: { ...process.env, XDG_CACHE_HOME: cache },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (data) => (said += data));
  return new Promise((resolve, reject) => {
    const ended = new Promise((end) => child.on("close", (code) => end(code)));
    ended.then((code) => {
      rmSync(cache, { recursive: true, force: true });
      reject(new Error(`sluice serve ended with ${code}: ${said}`));
    });
    let listening = "";
    child.stdout.on("data", (data) => {
      listening += data;
      const found = /listening on (http:\/\/\S+:\d+)/.exec(listening);
      if (!found) return;
      const url = `${found[1]}/`;
      resolve({
        url,
        get: async (path, headers = {}) => (await fetch(url + path, { headers })).json(),
        stop: async () => {
          child.kill("SIGTERM");
          const code = await ended;
          if (code !== 0) throw new Error(`sluice serve ended with ${code}: ${said}`);
        },
      });
    });
  });
}

/** With memory for few experts, so that they come and go. */
export async function serveWithLittleMemory(...flags) {
  for (let mebibytes = 32; mebibytes < 1024; mebibytes += 2) {
    try {
      return await serve("-np", "1", "-c", "2048", "--no-warm-start", ...flags, "--ram", `${mebibytes}M`);
    } catch (error) {
      if (!error.message.includes("of memory are too little")) throw error;
    }
  }
  throw new Error("no --ram below 1 GiB is enough");
}
