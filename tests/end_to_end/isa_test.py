#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every instruction set level of this machine: chosen when asked for, all vector levels the same, near scalar.

Vector levels give the same bits. Scalar adds in another order; the difference of 1e-7 moves an activation over a
rounding border of 8 bits now and then, after which the two runs differ by what that rounding costs: about 1e-3 of
divergence in this model."""
import array
import math
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
MODEL = str(ROOT / "models/sluice-tiny.gguf")
TEXT = ("A program that reads files from strangers proves every size before it allocates. "
        "What is 34 plus 48? Sort these words: pear, apple, fig. The answer is")


def sluice(*arguments):
    return subprocess.run([SLUICE, *arguments], capture_output=True, timeout=300, check=False)


def levels():
    """From the message about a level that does not exist."""
    error = sluice("run", "-m", MODEL, "-p", "x", "--isa", "none").stderr.decode()
    return re.search(r"it has: (.*)", error).group(1).split(", ")


def log_softmax(row):
    most = max(row)
    total = math.log(sum(math.exp(value - most) for value in row)) + most
    return [value - total for value in row]


class InstructionSets(unittest.TestCase):
    def test_override_takes_effect(self):
        for level in levels():
            done = sluice("run", "-m", MODEL, "-p", "Who are you?", "-n", "1", "--isa", level, "-v")
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stderr.decode(), rf"CPU, {re.escape(level)}, \d+ threads?")

    def test_divergence(self):
        with tempfile.TemporaryDirectory() as folder:
            tokens = pathlib.Path(folder, "tokens")
            tokens.write_bytes(sluice("tokenize", "-m", MODEL, "-p", TEXT, "--ids").stdout)
            count = len(re.findall(r"\d+", tokens.read_text()))
            tokens.write_text(" ".join(re.findall(r"\d+", tokens.read_text())))
            rows = {}
            for level in levels():
                out = pathlib.Path(folder, level)
                done = sluice("eval", "logits", "-m", MODEL, "--tokens-file", str(tokens), "-o", str(out), "--isa", level)
                self.assertEqual(done.returncode, 0, done.stderr.decode())
                logits = array.array("f", out.read_bytes())
                width = len(logits) // count
                rows[level] = [log_softmax(logits[at:at + width]) for at in range(0, len(logits), width)]
            self.assertGreater(count, 30)
            vectors = [found for level, found in rows.items() if level != "scalar"]
            for found in vectors[1:]:
                self.assertEqual(found, vectors[0])
            for level, found in rows.items():
                divergence = [sum(math.exp(p) * (p - q) for p, q in zip(truth, row))
                              for truth, row in zip(rows["scalar"], found)]
                print(f"{level}: mean KL divergence from scalar {sum(divergence) / count:.2e}, most {max(divergence):.2e}")
                self.assertLessEqual(sum(divergence) / count, 2e-3, level)


if __name__ == "__main__":
    unittest.main()
