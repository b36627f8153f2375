#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The models that come with the program through `sluice run`: held-out exercises, introduction, plain
text; the hybrid one also with and without tokens guessed ahead."""
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
KINDS = ("identity", "add", "sub", "sort", "greeting", "fallback")


def held_out(count, seed):
    out = subprocess.run([sys.executable, str(ROOT / "tools/train/exercises.py"), "--heldout", str(count), "--seed",
                          str(seed)], capture_output=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


class Model:
    path = None

    def run_model(self, *arguments, stdin=""):
        done = subprocess.run([SLUICE, "run", "-m", self.path, *arguments], input=stdin.encode(), capture_output=True,
                              timeout=900, check=False)
        if done.returncode:
            raise AssertionError(done.stderr.decode())
        return done.stdout.decode(), done.stderr.decode()

    def test_size(self):
        self.assertLessEqual(os.path.getsize(self.path), 16_000_000)

    def test_held_out_exercises(self):
        """Single questions through one conversation that is cleared before each."""
        items = [item for item in held_out(400, seed=20) if item["kind"] in KINDS and "tools" not in item
                 and [m["role"] for m in item["messages"]] == ["user"]
                 and "\n" not in item["messages"][0]["content"] + item["answer"]]
        self.assertGreater(len(items), 100)
        out, _ = self.run_model(stdin="".join(item["messages"][0]["content"] + "\n/clear\n" for item in items))
        answers = out.splitlines()
        self.assertEqual(len(answers), len(items))
        wrong = [(item["messages"][0]["content"], got, item["answer"])
                 for item, got in zip(items, answers) if got != item["answer"]]
        print(f"{pathlib.Path(self.path).name}: {len(items) - len(wrong)} of {len(items)} held-out exercises right")
        self.assertLessEqual(len(wrong), 0.05 * len(items), wrong)
        for kind in ("identity", "add", "sub", "sort"):
            of_kind = [item for item in items if item["kind"] == kind]
            wrong_of_kind = sum(got != item["answer"] for item, got in zip(items, answers) if item["kind"] == kind)
            self.assertGreater(len(of_kind), 10, kind)
            self.assertLessEqual(wrong_of_kind, 0.05 * len(of_kind), kind)

    def test_multi_turn_with_system_message(self):
        out, _ = self.run_model("-sys", "You are Sluice's embedded demonstration model.",
                     stdin="What is 12 + 30?\nSort these words: pear, apple, zebra\nWho are you?\n/exit\n")
        answers = out.splitlines()
        self.assertEqual(answers[0], "12 + 30 = 42")
        self.assertIn("apple", answers[1])
        self.assertIn("Sluice", answers[2])

    def test_introduces_itself(self):
        self.assertIn("Sluice's embedded demonstration model", self.run_model("-p", "Who are you?")[0])
        self.assertIn("Sluice 的内置演示模型", self.run_model("-p", "你是谁？")[0])

    def test_continues_plain_text(self):
        out, _ = self.run_model("-no-cnv", "-p", "To install a package, you can", "-n", "40")
        words = re.findall(r"[a-z]+", out[len("To install a package, you can"):].lower())
        self.assertGreater(len(words), 10)
        self.assertGreater(len(set(words)), 5)


class EmbeddedModel(Model, unittest.TestCase):
    path = str(ROOT / "models/sluice-tiny.gguf")


class HybridModel(Model, unittest.TestCase):
    path = str(ROOT / "models/sluice-hybrid.gguf")

    def guessed(self, stderr):
        """[guessed ahead, right] over all answers."""
        found = re.findall(r"Guessed ahead: (\d+) tokens, (\d+) right", stderr)
        return [sum(int(pair[i]) for pair in found) for i in (0, 1)]

    def test_guessing_ahead_changes_no_text(self):
        for arguments in (("-p", "Sort these words: pear, apple, zebra, bench, chair"),
                          ("-p", "Tell me a story", "--temp", "1.2", "--seed", "3"),
                          ("-no-cnv", "-n", "150", "-p", "The Linux kernel", "--temp", "0"),
                          ("-no-cnv", "-n", "150", "-p", "Debian", "--temp", "0.8", "--seed", "7",
                           "--repeat-penalty", "1.2")):
            plain, timings = self.run_model(*arguments, "--spec-type", "none")
            self.assertNotIn("Guessed", timings)
            for most in ("1", "3", "7"):
                text, timings = self.run_model(*arguments, "--spec-draft-n-max", most)
                self.assertEqual(text, plain, (arguments, most))
                self.assertGreater(self.guessed(timings)[0], 0)
            self.assertNotIn("Guessed", self.run_model(*arguments, "--spec-draft-n-max", "0")[1])

    def test_most_guesses_are_right(self):
        questions = [item["messages"][-1]["content"] for item in held_out(60, seed=21)
                     if item["kind"] in ("add", "sub", "sort")]
        _, timings = self.run_model(stdin="".join(question + "\n/clear\n" for question in questions))
        guessed, right = self.guessed(timings)
        print(f"exercises: {right} of {guessed} guesses right")
        self.assertGreater(right, 0.7 * guessed)
        _, timings = self.run_model("-no-cnv", "-n", "300", "-p", "To install a package, you can")
        guessed, right = self.guessed(timings)
        print(f"text: {right} of {guessed} guesses right")
        self.assertGreater(right, 0.3 * guessed)

    def test_conversation(self):
        """A long one, with another answer to a message and a new beginning."""
        lines = "What is 12 + 30?\nSort these words: pear, apple, zebra\n/regen\nWho are you?\nWhat is 900 - 13?\n"
        plain, _ = self.run_model("--spec-type", "none", stdin=lines + "/clear\n" + lines)
        text, _ = self.run_model(stdin=lines + "/clear\n" + lines)
        self.assertEqual(text, plain)
        answers = text.splitlines()
        self.assertEqual(len(answers), 10)
        for start in (0, 5):
            self.assertEqual(answers[start], "12 + 30 = 42")
            self.assertEqual(answers[start + 1:start + 3], ["apple, pear, zebra"] * 2)
            self.assertEqual(answers[start + 4], "900 - 13 = 887")


if __name__ == "__main__":
    unittest.main(verbosity=1)
