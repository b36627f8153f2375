#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The embedded model through `sluice run`: held-out exercises, introduction, plain text."""
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
MODEL = str(ROOT / "models/sluice-tiny.gguf")
KINDS = ("identity", "add", "sub", "sort", "greeting", "fallback")


def run(*arguments, stdin=""):
    done = subprocess.run([SLUICE, "run", "-m", MODEL, *arguments], input=stdin.encode(), capture_output=True,
                          timeout=900, check=False)
    if done.returncode:
        raise AssertionError(done.stderr.decode())
    return done.stdout.decode(), done.stderr.decode()


def held_out(count, seed):
    out = subprocess.run([sys.executable, str(ROOT / "tools/train/exercises.py"), "--heldout", str(count), "--seed",
                          str(seed)], capture_output=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


class EmbeddedModel(unittest.TestCase):
    def test_size(self):
        self.assertLessEqual(os.path.getsize(MODEL), 16_000_000)

    def test_held_out_exercises(self):
        """Single questions through one conversation that is cleared before each."""
        items = [item for item in held_out(400, seed=20) if item["kind"] in KINDS and "tools" not in item
                 and [m["role"] for m in item["messages"]] == ["user"]
                 and "\n" not in item["messages"][0]["content"] + item["answer"]]
        self.assertGreater(len(items), 100)
        out, _ = run(stdin="".join(item["messages"][0]["content"] + "\n/clear\n" for item in items))
        answers = out.splitlines()
        self.assertEqual(len(answers), len(items))
        wrong = [(item["messages"][0]["content"], got, item["answer"])
                 for item, got in zip(items, answers) if got != item["answer"]]
        print(f"{len(items) - len(wrong)} of {len(items)} held-out exercises right")
        self.assertLessEqual(len(wrong), 0.05 * len(items), wrong)
        for kind in ("identity", "add", "sub", "sort"):
            of_kind = [item for item in items if item["kind"] == kind]
            wrong_of_kind = sum(got != item["answer"] for item, got in zip(items, answers) if item["kind"] == kind)
            self.assertGreater(len(of_kind), 10, kind)
            self.assertLessEqual(wrong_of_kind, 0.05 * len(of_kind), kind)

    def test_multi_turn_with_system_message(self):
        out, _ = run("-sys", "You are Sluice's embedded demonstration model.",
                     stdin="What is 12 + 30?\nSort these words: pear, apple, zebra\nWho are you?\n/exit\n")
        answers = out.splitlines()
        self.assertEqual(answers[0], "12 + 30 = 42")
        self.assertIn("apple", answers[1])
        self.assertIn("Sluice", answers[2])

    def test_introduces_itself(self):
        self.assertIn("Sluice's embedded demonstration model", run("-p", "Who are you?")[0])
        self.assertIn("Sluice 的内置演示模型", run("-p", "你是谁？")[0])

    def test_continues_plain_text(self):
        out, _ = run("-no-cnv", "-p", "To install a package, you can", "-n", "40")
        words = re.findall(r"[a-z]+", out[len("To install a package, you can"):].lower())
        self.assertGreater(len(words), 10)
        self.assertGreater(len(set(words)), 5)


if __name__ == "__main__":
    unittest.main(verbosity=1)
