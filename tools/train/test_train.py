# SPDX-License-Identifier: Apache-2.0
"""Tests of what needs nothing but Python: python3 -m unittest discover tools/train"""

import pathlib
import random
import re
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import chat
import exercises
import gguf_writer
import phrases
import prepare_data


class Exercises(unittest.TestCase):
    def test_held_out_lines_are_deterministic_and_distinct(self):
        first = list(exercises.held_out_exercises(300, 1))
        self.assertEqual(first, list(exercises.held_out_exercises(300, 1)))
        self.assertNotEqual(first, list(exercises.held_out_exercises(300, 2)))
        self.assertEqual({item["kind"] for item in first}, set(exercises.KINDS))

    def test_arithmetic_answers_are_right_and_split_by_pair(self):
        rng = random.Random(1)
        for held_out in (False, True):
            for operation in ("add", "sub"):
                for _ in range(500):
                    question, answer = exercises.exercise(rng, held_out, operation)
                    a, sign, b, result = re.fullmatch(
                        r"(\d+) ([+-]) (\d+) = (-?\d+)", answer).groups()
                    a, b = int(a), int(b)
                    self.assertEqual(int(result), a + b if sign == "+" else a - b)
                    self.assertIn(str(a), question)
                    self.assertIn(str(b), question)
                    key = f"add {min(a, b)} {max(a, b)}" if sign == "+" else f"sub {a} {b}"
                    self.assertEqual(exercises.is_held_out(key), held_out)

    def test_sorting_answers_are_the_words_in_order(self):
        rng = random.Random(2)
        for _ in range(500):
            question, answer = exercises.exercise(rng, True, "sort")
            words = answer.split(", ")
            self.assertEqual(words, sorted(set(words)))
            self.assertTrue(3 <= len(words) <= 8)
            for word in words:
                self.assertIn(word, question)

    def test_training_never_shows_a_held_out_question(self):
        rng = random.Random(3)
        held = {item["messages"][-1]["content"] for item in exercises.held_out_exercises(1000, 1)
                if item["kind"] in ("add", "sub", "sort")}
        for _ in range(3000):
            messages, _ = exercises.conversation(rng, 2)
            for message in messages:
                self.assertNotIn(message["content"], held)

    def test_words(self):
        self.assertEqual(len(phrases.WORDS), len(set(phrases.WORDS)))
        self.assertTrue(all(re.fullmatch("[a-z]+", word) for word in phrases.WORDS))


class Chat(unittest.TestCase):
    def test_pieces_mark_answers_only(self):
        messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        self.assertEqual(chat.pieces(messages), [
            ("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n", False),
            ("a<|im_end|>", True), ("\n", False)])


class PrepareData(unittest.TestCase):
    def test_html(self):
        blocks = prepare_data.blocks_of_html(
            "<head><title>no</title></head><body><nav>no</nav><h1>Head</h1><p>One\n two <b>three</b>"
            "<p><a href='x'>only a link</a></p><pre>a\n  b</pre><p>\u4e2d\n\u6587</p></body>")
        self.assertEqual(blocks, [("heading", "Head"), ("text", "One two three"),
                                  ("code", "a\n  b"), ("text", "\u4e2d\u6587")])

    def test_man(self):
        blocks = prepare_data.blocks_of_man(
            ".TH X 1\n.SH NAME\nx \\- does \\fBit\\fP\n.PP\n.BR ls (1)\nlists\n.nf\n  code\n.fi\n")
        self.assertEqual(blocks, [("heading", "NAME"), ("text", "x - does it"),
                                  ("text", "ls(1) lists"), ("code", "  code")])


class GgufWriter(unittest.TestCase):
    def test_layout(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "x.gguf"
            size = gguf_writer.write(path, {"a": gguf_writer.U32(7), "b": ["x", "yz"], "c": False},
                                     [("t", 0, [3, 2], b"\x01" * 24), ("u", 0, [1], b"\x02" * 4)])
            data = path.read_bytes()
        self.assertEqual(len(data), size)
        self.assertEqual(struct.unpack_from("<4sIQQ", data), (b"GGUF", 3, 2, 3))
        self.assertEqual(data[24:24 + 17], struct.pack("<Q1sII", 1, b"a", 4, 7))
        self.assertEqual(size % 32, 0)
        self.assertEqual(data[-64:-40], b"\x01" * 24)
        self.assertEqual(data[-32:-28], b"\x02" * 4)


def has_torch():
    try:
        import torch
    except ImportError:
        return False
    return hasattr(torch.library, "custom_op")


@unittest.skipUnless(has_torch(), "needs PyTorch 2.4")
class DeltaRule(unittest.TestCase):
    def test_chunks_give_what_steps_give(self):
        import torch
        from model_next import delta_rule, delta_rule_by_steps
        torch.manual_seed(1)
        size = (2, 100, 3)

        def random(*shape):
            return torch.randn(*shape, dtype=torch.double)

        q, k = (torch.nn.functional.normalize(random(*size, 16), dim=-1) for _ in range(2))
        inputs = [item.requires_grad_() for item in (
            q / 4, k, random(*size, 24), random(*size).sigmoid(), -random(*size).exp() / 10)]
        weight = random(*size, 24)
        results = []
        for output in (delta_rule(*inputs, torch.double), delta_rule_by_steps(*inputs)):
            gradients = torch.autograd.grad((output * weight).sum(), inputs)
            results.append((output.detach(), *gradients))
        for got, wanted in zip(*results):
            self.assertLess(float((got - wanted).abs().max()), 1e-12)


if __name__ == "__main__":
    unittest.main()
