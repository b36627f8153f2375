// SPDX-License-Identifier: Apache-2.0
// node check.mjs DUMP_GGUF PATH...: compares our parse of GGUF files with that of @huggingface/gguf. A
// folder stands for the *.gguf files below it, and for its own files without an ending (seeds of the
// fuzzer), of which those may be refused. Models in one file are also copied through our writer and the
// copy is compared. Exit code 77 (skipped) when the package is not installed.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
if (!existsSync(join(here, "node_modules/@huggingface/gguf"))) {
  console.log(`skipped: @huggingface/gguf is not installed; run "npm ci" in ${here}`);
  process.exit(77);
}
const { gguf, GGUFValueType, GGMLQuantizationType } = await import("@huggingface/gguf");

const kCopyLimit = 64 << 20; // larger models are not copied
const [dumpProgram, ...paths] = process.argv.slice(2);
if (!dumpProgram || paths.length === 0) {
  console.error("usage: node check.mjs DUMP_GGUF PATH...");
  process.exit(2);
}

const isLaterPart = (path) => /-(?!00001)\d{5}-of-\d{5}\.gguf$/.test(path);

function listFiles(path) {
  if (!statSync(path).isDirectory()) return [{ path, mayBeRefused: false }];
  return readdirSync(path, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && !isLaterPart(entry.name))
    .map(({ name, parentPath, path: olderName }) => ({ name, folder: parentPath ?? olderName }))
    .filter(({ name, folder }) => name.endsWith(".gguf") || (folder === path && extname(name) === ""))
    .map(({ name, folder }) => ({ path: join(folder, name), mayBeRefused: extname(name) === "" }));
}

// Our side.

// A text as the dump writes it (one code point per byte), decoded as the package decodes.
const text = (bytes) => new TextDecoder().decode(Buffer.from(bytes, "latin1"));

function decode(type, elementType, value) {
  if (type === "array") return value.map((element) => decode(elementType, null, element));
  if (type === "string") return text(value);
  if (type === "bool") return value;
  if (type === "u64" || type === "i64") return BigInt(value);
  return Number(value);
}

function ours(path) {
  const dump = JSON.parse(execFileSync(dumpProgram, [path], { maxBuffer: 1 << 30, stdio: "pipe" }));
  return {
    files: dump.files,
    version: dump.version,
    metadata: dump.metadata.map(({ key, type, element_type, value }) => ({
      key: text(key),
      type,
      elementType: element_type ?? null,
      value: decode(type, element_type, value),
    })),
    tensors: dump.tensors.map(({ name, type, type_id, shape, file, offset }) => ({
      name: text(name),
      type,
      typeId: type_id,
      shape: shape.map(BigInt),
      file,
      offset: BigInt(offset),
    })),
  };
}

// The package's side, brought to the same form.

const typeNames = {
  [GGUFValueType.UINT8]: "u8",
  [GGUFValueType.INT8]: "i8",
  [GGUFValueType.UINT16]: "u16",
  [GGUFValueType.INT16]: "i16",
  [GGUFValueType.UINT32]: "u32",
  [GGUFValueType.INT32]: "i32",
  [GGUFValueType.FLOAT32]: "f32",
  [GGUFValueType.BOOL]: "bool",
  [GGUFValueType.STRING]: "string",
  [GGUFValueType.ARRAY]: "array",
  [GGUFValueType.UINT64]: "u64",
  [GGUFValueType.INT64]: "i64",
  [GGUFValueType.FLOAT64]: "f64",
};

async function theirs(files) {
  const parts = [];
  for (const file of files) parts.push(await gguf(file, { allowLocalFile: true, typedMetadata: true }));
  const { typedMetadata } = parts[0];
  return {
    files,
    version: typedMetadata.version.value,
    metadata: Object.entries(typedMetadata)
      .filter(([key]) => !["version", "tensor_count", "kv_count"].includes(key))
      .map(([key, { type, subType, value }]) => ({
        key,
        type: typeNames[type],
        elementType: type === GGUFValueType.ARRAY ? typeNames[subType] : null,
        value,
      })),
    tensors: parts.flatMap(({ tensorInfos, tensorDataOffset }, file) =>
      tensorInfos.map(({ name, dtype, shape, offset }) => ({
        name,
        type: GGMLQuantizationType[dtype],
        typeId: dtype,
        shape,
        file,
        offset: tensorDataOffset + offset,
      })),
    ),
  };
}

// Comparison.

const show = (value) => {
  const json = JSON.stringify(value, (_, v) => (typeof v === "bigint" ? `${v}` : v)) ?? String(value);
  return json.length > 200 ? `${json.slice(0, 200)}...` : json;
};

// The first few differences, one line each.
function differences(mine, other) {
  const found = [];
  const compare = (what, a, b) => {
    if (!isDeepStrictEqual(a, b)) found.push(`${what}: ours ${show(a)}, theirs ${show(b)}`);
  };
  compare("version", mine.version, other.version);
  for (const [list, name] of [["metadata", "key"], ["tensors", "name"]]) {
    compare(`number of ${list}`, mine[list].length, other[list].length);
    for (let i = 0; i < Math.min(mine[list].length, other[list].length); ++i) {
      const [a, b] = [mine[list][i], other[list][i]];
      for (const field of Object.keys(a)) compare(`${list} ${a[name]}: ${field}`, a[field], b[field]);
    }
  }
  return found.slice(0, 10);
}

async function check(path) {
  const mine = ours(path);
  const found = differences(mine, await theirs(mine.files));
  for (const line of found) console.error(`${path}: ${line}`);
  return { same: found.length === 0, mine };
}

let compared = 0;
let copied = 0;
let refused = 0;
let failed = 0;
const scratch = mkdtempSync(join(tmpdir(), "gguf_oracle_"));
try {
  for (const { path, mayBeRefused } of paths.flatMap(listFiles)) {
    try {
      const { same, mine } = await check(path);
      ++compared;
      if (!same) ++failed;
      console.log(`${same ? "same" : "DIFFERENT"}  ${path}: ${mine.metadata.length} keys, ${mine.tensors.length} tensors`);
      if (mine.files.length > 1 || statSync(path).size > kCopyLimit) continue;
      const copy = join(scratch, "copy.gguf");
      execFileSync(dumpProgram, ["--copy", path, copy], { stdio: "pipe" });
      ++copied;
      if (!(await check(copy)).same) ++failed;
    } catch (error) {
      const message = (error.stderr?.length ? error.stderr.toString() : String(error)).trim();
      if (mayBeRefused && error.status === 1) {
        ++refused;
        console.log(`refused  ${path}: ${message}`);
      } else {
        ++failed;
        console.error(`FAILED  ${path}: ${message}`);
      }
    }
  }
} finally {
  rmSync(scratch, { recursive: true });
}
console.log(`${compared} compared, ${copied} copies compared, ${refused} refused seeds, ${failed} failed`);
if (compared === 0) console.error("no GGUF file was found");
process.exit(failed === 0 && compared > 0 ? 0 : 1);
