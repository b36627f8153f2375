#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every instruction set level of this machine: chosen when asked for, and all with the same logits, bit for bit."""
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
MODEL = str(ROOT / "models/sluice-tiny.gguf")
HYBRID = ROOT / "tests/data/models/qwen3next-tiny.bf16.gguf"
TEXT = ("A program that reads files from strangers proves every size before it allocates. "
        "What is 34 plus 48? Sort these words: pear, apple, fig. The answer is")


def sluice(*arguments):
    return subprocess.run([SLUICE, *arguments], capture_output=True, timeout=300, check=False)


def levels():
    """From the message about a level that does not exist."""
    error = sluice("run", "-m", MODEL, "-p", "x", "--isa", "none").stderr.decode()
    return re.search(r"it has: (.*)", error).group(1).split(", ")


class InstructionSets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        hybrid = str(pathlib.Path(folder.name, "hybrid.gguf"))
        assert sluice("quantize", str(HYBRID), hybrid, "Q4_K_M").returncode == 0
        cls.models = (MODEL, hybrid)

    def test_override_takes_effect(self):
        for level in levels():
            done = sluice("run", "-m", MODEL, "-p", "Who are you?", "-n", "1", "--isa", level, "-v")
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stderr.decode(), rf"CPU, {re.escape(level)}, \d+ threads?")

    def test_same_text(self):
        """A turn, another answer and a follow-up."""
        for model in self.models:
            answers = {}
            for level in levels():
                done = subprocess.run([SLUICE, "run", "-m", model, "--isa", level, "-n", "12", "--temp", "0"],
                                      input=b"Who are you?\n/regen\nSort these words: pear, apple, fig.\n",
                                      capture_output=True, timeout=300, check=True)
                answers[level] = done.stdout
            self.assertEqual(len(set(answers.values())), 1, answers)
            self.assertGreater(len(answers["scalar"]), 10)

    def test_same_logits(self):
        for model in self.models:
            with self.subTest(model=model), tempfile.TemporaryDirectory() as folder:
                self.check_logits(model, folder)

    def check_logits(self, model, folder):
        tokens = pathlib.Path(folder, "tokens")
        ids = re.findall(rb"\d+", sluice("tokenize", "-m", model, "-p", TEXT, "--ids").stdout)
        self.assertGreater(len(ids), 30)
        tokens.write_bytes(b" ".join(ids))
        logits = {}
        for level in levels():
            out = pathlib.Path(folder, level)
            done = sluice("eval", "logits", "-m", model, "--tokens-file", str(tokens), "-o", str(out), "--isa", level)
            self.assertEqual(done.returncode, 0, done.stderr.decode())
            logits[level] = out.read_bytes()
        for level, found in logits.items():
            self.assertEqual(found, logits["scalar"], level)


if __name__ == "__main__":
    unittest.main()
