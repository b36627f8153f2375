#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the documentation says, done: every command in a ```sh block of README.md and docs/*.md runs, in order and with
the document's folder full of small models under the names that it uses; and every flag that is named exists.

A command that cannot run here ends with `# needs: WORD`: network, root, gpu, time or terminal (a second one), or stands
in a ```bash block. Its flags are looked up all the same."""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
NEEDS = {"network", "root", "gpu", "time", "terminal"}
# What stands for the files that documents name.
FILES = {
    "Qwen3-30B-A3B-Instruct-2507-Q4_K_M.gguf": "models/sluice-tiny.gguf",
    "Qwen3-30B-A3B-Q4_K_M.gguf": "models/sluice-tiny.gguf",
    "Qwen3-Next-80B-A3B-Instruct-Q4_K_M.gguf": "models/sluice-hybrid.gguf",
    "MODEL.gguf": "models/sluice-tiny.gguf",
    "MODEL.bf16.gguf": "tests/data/models/qwen3moe-tiny.bf16.gguf",
    "TEXT": "CONTRIBUTING.md",
}
# Put behind commands that measure: they end sooner, and are the same otherwise.
QUICK = {"report": ["-p", "32", "-n", "8", "-r", "1", "--answer", "16"], "bench": ["-r", "1"]}
PARTS = {"eval": [["logits"], ["perplexity"]]}
# What the small models cannot do: more context than they were trained for.
INSTEAD = {" -c 8192": " -c 2048"}
# Flags of other programs, and those that a document names since they are not here.
FOREIGN = {"--start-period", "--security-opt", "--list-devices", "--user", "--scope", "--gpus", "--version", "--build", "--target", "--preset", "--restart", "--rm"}


def documents():
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text):
    """[(command, words it needs)] of a document, lines that end in a backslash joined."""
    found = []
    for block in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        if block[1] in {"shell", "console"}:
            raise AssertionError(f"```{block[1]}: write ```sh, so that it is tested")
        for line in re.sub(r"\\\n\s*", " ", block[2]).splitlines() if block[1] in {"sh", "bash"} else []:
            needs = re.search(r"#\s*needs:\s*(.*)$", line)
            words = set(re.findall(r"\w+", needs[1])) if needs else set()
            if words - NEEDS:
                raise AssertionError(f"{line}: needs one of {', '.join(sorted(NEEDS))}")
            if block[1] == "bash":
                words.add("elsewhere")
            if shlex.split(line, comments=True):
                found.append((line.strip(), words))
    return found


def help_of(command):
    """Of all its parts, where a command has some."""
    return "".join(subprocess.run([SLUICE, command, *part, "--help"], capture_output=True, timeout=60, check=True)
                   .stdout.decode() for part in PARTS.get(command, [[]]))


def known_commands():
    text = subprocess.run([SLUICE, "help"], capture_output=True, timeout=60, check=True).stdout.decode()
    return set(re.findall(r"^  ([a-z]+) ", text, re.M))


def flags_of(command):
    flags = set()
    for line in help_of(command).splitlines():
        names = re.match(r"^  ((?:--?[\w-]+(?:, )?)+)", line)
        if names:
            flags.update(names[1].split(", "))
    flags |= {"--no-" + flag[2:] for flag in flags if flag.startswith("--")}
    return flags | {"-h", "--help"}


def words_of(command):
    """Without comment, and without the environment before the program."""
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words.pop(0)
    return words


def sluice_calls(command):
    """The words of `sluice COMMAND ...`, if a line is that."""
    words = words_of(command)
    return [words[1:]] if words and pathlib.Path(words[0]).name == "sluice" and len(words) > 1 else []


class Docs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.known = known_commands()
        cls.flags = {command: flags_of(command) for command in cls.known}

    def test_flags_of_commands_exist(self):
        checked = 0
        for document in documents():
            for command, _ in commands(document.read_text(encoding="utf-8")):
                for words in sluice_calls(command):
                    name = words[0]
                    if name in {"version", "help"} or name.startswith("-"):
                        continue
                    with self.subTest(document=document.name, command=command):
                        self.assertIn(name, self.known)
                        for word in words[1:]:
                            if re.match(r"--?[a-zA-Z]", word):
                                self.assertIn(word.split("=")[0], self.flags[name])
                                checked += 1
        self.assertGreater(checked, 20)

    def test_commands_run(self):
        ran = 0
        for document in documents():
            lines = commands(document.read_text(encoding="utf-8"))
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                for entry in ("models", "machines", "scripts", "tools", "tests", "docs", "bench"):
                    if (ROOT / entry).exists():
                        (folder / entry).symlink_to(ROOT / entry)
                for path in ("build/app/bin/sluice", "bin/sluice"):
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).symlink_to(SLUICE)
                # Copies: what a command writes under one of the names is not to be the repository's file.
                for file, stands_for in FILES.items():
                    shutil.copy(ROOT / stands_for, folder / file)
                environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
                for command, needs in lines:
                    if needs:
                        continue
                    with self.subTest(document=document.name, command=command):
                        calls = sluice_calls(command)
                        for written, done in INSTEAD.items():
                            command = command.replace(written, done)
                        if calls:
                            command = " ".join([command.split("  #")[0], *QUICK.get(calls[0][0], [])])
                        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=folder, env=environment,
                                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
                        self.assertEqual(done.returncode, 0, done.stderr.decode())
                        ran += 1
        print(f"{ran} commands ran")
        self.assertGreater(ran, 15)

    def test_programs_that_do_not_run_here_exist(self):
        for document in documents():
            for command, needs in commands(document.read_text(encoding="utf-8")):
                program = words_of(command)[0]
                if needs - {"elsewhere"} and "/" in program and not program.startswith(("build/", "/", "~")):
                    self.assertTrue((ROOT / program).exists(), f"{document.name}: {program}")

    def test_flags_in_the_text_exist(self):
        """In backticks, as the documents write them: somewhere in the sources that read flags."""
        sources = ""
        for pattern in ("src/apps/*.cpp", "bench/**/*.py", "bench/*.cpp", "bench/*.h", "tools/**/*.py", "scripts/*",
                        "src/report/study.cpp", "tests/end_to_end/**/*.py"):
            for path in ROOT.glob(pattern):
                if path.is_file() and path.name != "docs_test.py":
                    sources += path.read_text(encoding="utf-8", errors="replace")
        known = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", sources)) | FOREIGN
        for flags in self.flags.values():
            known |= flags
        looked_at = 0
        for document in documents():
            text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
            for code in re.findall(r"`([^`\n]+)`", text):
                for flag in re.findall(r"(?<![\w./-])--?[a-z][\w-]*", code):
                    looked_at += 1
                    with self.subTest(document=document.name, flag=flag):
                        self.assertTrue(flag in known or flag.endswith("-") and any(k.startswith(flag) for k in known),
                                        f"`{code}`: no such flag")
        self.assertGreater(looked_at, 150)


if __name__ == "__main__":
    unittest.main()
