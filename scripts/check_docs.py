#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that every path and file name in backticks in the documentation exists, and every link."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What documentation may name without it being in the repository.
ELSEWHERE = re.compile(r"^(build/|/|~|https?:|[A-Z_]+$)")


def documents():
    names = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in names.stdout.split()]


def exists(name: str, document: pathlib.Path) -> bool:
    for base in (ROOT, ROOT / "src", document.parent):
        if (base / name).exists():
            return True
        head, _, tail = name.rpartition("/")
        match = re.fullmatch(r"([\w.-]*)\{([\w,.]+)\}([\w.-]*)", tail)  # name.{h,cpp}
        if match and all((base / head / (match[1] + e + match[3])).exists() for e in match[2].split(",")):
            return True
    return False


def main() -> int:
    errors = 0
    for document in documents():
        text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
        names = set(re.findall(r"`((?:[\w.-]+/)+[\w.{},-]*)`", text))
        links = set(re.findall(r"\]\(([^)#\s]+)[^)]*\)", text))
        for name in sorted(names | links):
            if ELSEWHERE.match(name) or "NN" in name or "<" in name or "*" in name:
                continue
            if not exists(name.rstrip("/"), document):
                print(f"{document.relative_to(ROOT)}: {name} does not exist")
                errors += 1
    print(f"documentation check: {errors} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
