#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the includes of src/ against the allowed direction of dependencies (see ARCHITECTURE.md)."""
import pathlib
import re
import sys

# module -> modules whose headers it may include besides its own
BASE = {"base"}
ALLOWED = {
    "base": set(),
    "quant": BASE,
    "storage": BASE,
    "text": BASE,
    "report": BASE | {"storage"},
    "gguf": BASE | {"quant", "storage"},
    "hub": BASE | {"storage", "gguf"},
    "synth": BASE | {"quant", "gguf", "text"},
    "compute": BASE | {"quant"},
    "residency": BASE | {"quant", "storage", "compute"},
    "machine": BASE | {"quant", "storage", "compute"},
    "model": BASE | {"quant", "storage", "gguf", "compute", "residency"},
    "engine": BASE | {"quant", "storage", "gguf", "compute", "residency", "model", "text"},
    "server": BASE | {"engine"},
    "plan": BASE | {"quant", "storage", "gguf", "compute", "residency", "model", "engine", "machine"},
    "library": BASE | {"storage", "model", "engine", "text", "sluice"},
    "apps": BASE | {"quant", "storage", "gguf", "compute", "residency", "model", "text", "engine", "server", "synth",
                    "machine", "plan", "report", "hub"},
}


def main() -> int:
    src = pathlib.Path(__file__).resolve().parent.parent / "src"
    errors = 0
    for module in sorted(p.name for p in src.iterdir() if p.is_dir()):
        if module not in ALLOWED:
            print(f"src/{module}: unknown module: add it to scripts/check_modules.py and ARCHITECTURE.md")
            errors += 1
            continue
        for path in sorted((src / module).rglob("*")):
            if path.suffix not in {".h", ".cpp", ".inl", ".cu", ".cuh"}:
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                match = re.match(r'\s*#\s*include\s+"([^"/]+)/', line)
                if match and match[1] != module and match[1] not in ALLOWED[module]:
                    print(f"{path.relative_to(src.parent)}:{number}: {module} must not include {match[1]}")
                    errors += 1
            if module != "apps":
                text = path.read_text(encoding="utf-8")
                for word in (r"\bstd::cout\b", r"\bstd::exit\(", r"\bstd::puts\("):
                    if re.search(word, text):
                        print(f"{path.relative_to(src.parent)}: libraries never print or exit ({word})")
                        errors += 1
    print(f"module check: {errors} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
