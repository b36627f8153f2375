#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Renders every template with every conversation in Jinja2, set up as transformers sets it up.

Two things are changed on purpose, and the chat templates of this project do them too: tojson takes
undefined values (null) and generators (lists), and `safe` marks nothing, since what is joined to a
string so marked would be escaped for HTML.

Usage: oracle_jinja2.py RENDER_CLI TEMPLATES_FOLDER [--write]
Compares what RENDER_CLI prints with Jinja2: both must fail, or give the same text, in every case.
With --write Jinja2's results become TEMPLATES_FOLDER/expected.json, for the unit test.
Exit code 77: Jinja2 is not installed."""

import datetime
import json
import os
import pathlib
import subprocess
import sys

try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except ImportError:
    sys.exit(77)

NOW = datetime.datetime(2025, 3, 4, 5, 6, 7)


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_render")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def to_plain(value):
    if isinstance(value, jinja2.Undefined):
        return None
    return list(value)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys, default=to_plain)


def environment():
    result = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    result.filters["tojson"] = tojson
    result.filters["safe"] = str
    result.globals["raise_exception"] = raise_exception
    result.globals["strftime_now"] = NOW.strftime
    return result


def render_all(folder):
    """Yields template, conversation, variant, and the text or None."""
    cases = json.loads((folder / "conversations.json").read_text(encoding="utf-8"))
    for path in sorted(folder.glob("*.jinja")):
        template = environment().from_string(path.read_text(encoding="utf-8"))
        for name, conversation in cases["conversations"].items():
            for index, variant in enumerate(cases["variants"]):
                # transformers always passes both
                context = {"tools": None, "documents": None}
                context |= cases["common"] | conversation | variant
                try:
                    text = template.render(**context)
                except Exception:  # whatever a template raises
                    text = None
                yield path.stem, name, index, text


def compare(program, folder):
    output = subprocess.run([program, folder], check=True, stdout=subprocess.PIPE, encoding="utf-8",
                            env=os.environ | {"TZ": "UTC"}).stdout
    # not splitlines: JSON leaves some of its line ends in the text
    ours = {}
    for line in filter(None, output.split("\n")):
        case = json.loads(line)
        ours[case["template"], case["conversation"], case["variant"]] = case
    equal = failing = different = 0
    for template, name, index, text in render_all(folder):
        case = ours.pop((template, name, index))
        if case.get("text") != text:
            different += 1
            print(f"{template}, {name}, variant {index}: {case.get('error', 'another text')}")
            print(f"  Jinja2: {text!r:.500}\n  here:   {case.get('text')!r:.500}")
        elif text is None:
            failing += 1
        else:
            equal += 1
    print(f"{equal} equal texts, {failing} fail in both, {different} differ, {len(ours)} left over")
    return 1 if different or ours else 0


def fnv(values):
    state = 0xCBF29CE484222325
    for byte in values:
        state = (state ^ byte) * 0x100000001B3 % (1 << 64)
    return f"{state:016x}"


FULL = {"user", "system_user", "multi_turn", "tools_system_user", "tool_calls_parallel", "reasoning",
        "reasoning_tool_call", "forged"}


def write(folder):
    """For each template and conversation a hash over its variants, each text ended by byte 30, or
    byte 31 for a failure; for Qwen's templates also some texts of variant 0."""
    bytes_of = {}
    full = {}
    for template, name, index, text in render_all(folder):
        state = bytes_of.setdefault(template, {}).setdefault(name, bytearray())
        state += b"\x1f" if text is None else text.encode() + b"\x1e"
        if "Qwen" in template and "Distill" not in template and name in FULL and index == 0:
            full.setdefault(template, {})[name] = text
    hashes = {template: {name: fnv(state) for name, state in names.items()}
              for template, names in bytes_of.items()}
    content = json.dumps({"hashes": hashes, "texts": full}, ensure_ascii=False, indent=0)
    (folder / "expected.json").write_text(content + "\n", encoding="utf-8")


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if sys.argv[3:] == ["--write"]:
        write(folder)
        return 0
    return compare(program, folder)


if __name__ == "__main__":
    sys.exit(main())
