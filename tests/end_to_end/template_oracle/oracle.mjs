// SPDX-License-Identifier: Apache-2.0
// Compares the chat templates with @huggingface/jinja.
// Usage: node oracle.mjs RENDER_CLI TEMPLATES_FOLDER [--write]
// Every case must fail in both or give the same text in both, but for those in
// known_differences.json, where the package departs from Jinja2; --write writes that file from what
// differs, sorted by reason. Exit code 77: the package is not installed (npm ci).
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const NOW = Date.UTC(2025, 2, 4, 5, 6, 7);
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length === 0 ? [NOW] : args));
  }
};

let Template;
try {
  ({ Template } = await import("@huggingface/jinja"));
} catch {
  console.log("@huggingface/jinja is not installed: run npm ci in this folder");
  process.exit(77);
}

const [program, folder, mode] = process.argv.slice(2);
const knownFile = new URL("known_differences.json", import.meta.url);

function render(template, context) {
  try {
    return { text: template.render(context) };
  } catch (error) {
    return { error: String(error) };
  }
}

function renderAll() {
  const cases = JSON.parse(readFileSync(join(folder, "conversations.json"), "utf8"));
  const results = new Map();
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".jinja"))) {
    const name = file.slice(0, -".jinja".length);
    const template = new Template(readFileSync(join(folder, file), "utf8"));
    for (const [conversation, content] of Object.entries(cases.conversations)) {
      cases.variants.forEach((options, variant) => {
        const context = { tools: null, documents: null, ...cases.common, ...content, ...options };
        results.set(`${name}/${conversation}/${variant}`, render(template, structuredClone(context)));
      });
    }
  }
  return results;
}

function renderHere() {
  const output = execFileSync(program, [folder], {
    encoding: "utf8",
    maxBuffer: 1 << 30,
    env: { ...process.env, TZ: "UTC" },
  });
  const results = new Map();
  for (const line of output.split("\n").filter(Boolean)) {
    const { template, conversation, variant, ...result } = JSON.parse(line);
    results.set(`${template}/${conversation}/${variant}`, result);
  }
  return results;
}

// Why the package's result is another one, where Jinja2's is ours.
function reasonOf(key, ours, theirs) {
  const plain = (text) =>
    text
      .replaceAll("True", "true")
      .replaceAll("False", "false")
      .replaceAll(/None|null/g, "")
      .replaceAll(/['"]/g, "");
  if (theirs.error !== undefined) return "the package does not support it or fails: " + theirs.error;
  if (ours.error !== undefined) {
    return "accepted by the package, an error in Jinja2: " + ours.error.replace(/^.*column \d+: /, "");
  }
  if (key.includes("/tools_floats/")) return "numbers: JavaScript knows no 1.0 and writes 1e-7";
  if (plain(ours.text) === plain(theirs.text) || theirs.text.includes("[object Map]")) {
    return "text of true, false, None, lists and objects: JSON instead of Python's";
  }
  if (ours.text.replaceAll(/\s/g, "") === theirs.text.replaceAll(/\s/g, "")) {
    return "strip, lstrip and rstrip: the package ignores their argument, or trim goes further";
  }
  return "text of lists and objects";
}

const theirs = renderAll();
const ours = renderHere();
const differences = {};
let equal = 0;
let failing = 0;
for (const [key, other] of theirs) {
  const here = ours.get(key);
  if (here === undefined) throw new Error(`no result for ${key}`);
  if (here.text === other.text) {
    if (here.text === undefined) failing += 1;
    else equal += 1;
    continue;
  }
  (differences[reasonOf(key, here, other)] ??= []).push(key);
}

const all = Object.values(differences).flat();
console.log(`${equal} equal texts, ${failing} fail in both, ${all.length} differ`);
for (const [reason, keys] of Object.entries(differences)) console.log(`  ${keys.length}: ${reason}`);

// {reason: {template: "conversation conversation/variant ..."}}, without the variant if all differ.
const VARIANTS = 4;
function pack(keys) {
  const packed = {};
  for (const key of keys) {
    const [template, conversation, variant] = key.split("/");
    ((packed[template] ??= {})[conversation] ??= []).push(variant);
  }
  for (const [template, conversations] of Object.entries(packed)) {
    packed[template] = Object.entries(conversations)
      .flatMap(([name, variants]) =>
        variants.length === VARIANTS ? [name] : variants.map((variant) => `${name}/${variant}`),
      )
      .join(" ");
  }
  return packed;
}

if (mode === "--write") {
  const packed = Object.fromEntries(
    Object.entries(differences)
      .sort()
      .map(([reason, keys]) => [reason, pack(keys)]),
  );
  writeFileSync(knownFile, JSON.stringify(packed, null, 1) + "\n");
} else {
  const known = new Set();
  for (const templates of Object.values(JSON.parse(readFileSync(knownFile, "utf8")))) {
    for (const [template, conversations] of Object.entries(templates)) {
      for (const entry of conversations.split(" ")) {
        const [name, variant] = entry.split("/");
        const variants = variant === undefined ? [...Array(VARIANTS).keys()] : [variant];
        for (const each of variants) known.add(`${template}/${name}/${each}`);
      }
    }
  }
  const unknown = all.filter((key) => !known.has(key));
  const gone = [...known].filter((key) => !all.includes(key));
  for (const key of unknown) console.log("not a known difference:", key);
  for (const key of gone) console.log("no difference any more:", key);
  process.exit(unknown.length + gone.length === 0 ? 0 : 1);
}
