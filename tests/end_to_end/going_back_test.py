#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Conversations with a model that has recurrent layers: how many tokens each turn reads, and that the answers are
those of a program that reads everything again."""
import os
import pathlib
import re
import subprocess
import unittest

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
MODEL = str(ROOT / "tests/data/models/qwen3next-tiny.bf16.gguf")
# About 3,700 tokens.
LONG = " ".join((ROOT / "LICENSE").read_text().split())[:10200]
TURNS = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
# The prompt opens a thought that is not part of the turns rendered later.
THINKING = TURNS.replace("assistant\\n", "assistant\\n<think>\\n")


def chat(*lines, template=TURNS, more=()):
    """Returns (standard output, standard error, tokens read per answer)."""
    done = subprocess.run([SLUICE, "run", "-m", MODEL, "--chat-template", template, "-n", "8", "--temp", "0", *more],
                          input="".join(line + "\n" for line in lines).encode(), capture_output=True, timeout=300,
                          check=True)
    errors = done.stderr.decode()
    return done.stdout, errors, [int(read) for read in re.findall(r"Prompt: (\d+) tokens", errors)]


class GoingBack(unittest.TestCase):
    def test_a_second_turn(self):
        out, _, read = chat(LONG, "And what else?")
        self.assertGreater(read[0], 3500)
        self.assertLess(read[1], read[0] / 20)
        again, _, everything = chat(LONG, "And what else?", more=["-ctxcp", "0", "-ub", "100"])
        self.assertEqual(again, out)
        self.assertLess(everything[1], read[0] / 20)  # nothing before it changed: no checkpoint is needed

    def test_a_turn_that_is_rendered_differently(self):
        lines = [LONG, "And what else?", "Nothing?"]
        out, _, read = chat(*lines, template=THINKING)
        self.assertLess(max(read[1:]), read[0] / 20)
        again, _, everything = chat(*lines, template=THINKING, more=["--ctx-checkpoints", "0"])
        self.assertEqual(again, out)
        self.assertGreater(min(everything), 3500)

    def test_another_answer(self):
        _, _, read = chat(LONG, "/regen", "/regen")
        self.assertEqual(read[1:], [0, 0])
        _, _, everything = chat(LONG, "/regen", more=["-ctxcp", "0"])
        self.assertGreater(everything[1], 3500)

    def test_another_conversation_under_the_same_system_message(self):
        more = ["-sys", LONG]
        out, _, read = chat("Hello", "/clear", "Hello again, are you there?", more=more)
        self.assertLess(read[1], read[0] / 20)
        alone, _, _ = chat("Hello again, are you there?", more=more)
        self.assertTrue(out.endswith(alone))

    def test_budget(self):
        """Printed on request, kept, and warned about where it holds none."""
        _, errors, _ = chat("Hello", more=["-lv", "3"])
        self.assertRegex(errors, r"keys and values of 4096 positions 4\.00 MiB, states 1\.05 MiB, "
                                 r"checkpoints up to 32 x 1\.05 = 33\.\d+ MiB")
        _, errors, read = chat(LONG, "Else?", "/regen", template=THINKING, more=["-lv", "3", "-cram", "3"])
        self.assertRegex(errors, r"checkpoints up to 2 x 1\.05 = 2\.\d+ MiB")
        self.assertLess(max(read[1:]), read[0] / 4)
        _, errors, read = chat(LONG, "Else?", template=THINKING, more=["--cache-ram", "1"])
        self.assertRegex(errors, r"warning: --cache-ram 1: one checkpoint takes 2")
        self.assertGreater(read[1], 3500)
        done = subprocess.run([SLUICE, "run", "-m", MODEL, "-p", "Hello", "-n", "1", "-lv", "3"], capture_output=True,
                              timeout=300, check=True)
        self.assertNotIn(b"checkpoints", done.stderr)  # one answer: nothing to come back to

    def test_spellings(self):
        _, errors, read = chat(LONG, "/regen", more=["-cms", "-1", "-lv", "2"])
        self.assertEqual(read[1], 0)
        self.assertNotIn("warning", errors)
        _, errors, _ = chat("Hello", more=["--checkpoint-every-n-tokens", "1024", "--swa-checkpoints", "4", "-lv", "3"])
        self.assertIn("checkpoints up to 4 x", errors)


if __name__ == "__main__":
    unittest.main()
