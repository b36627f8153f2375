#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A conversation while its disk fails: reads that are refused, cut short or late, and a file that is truncated, written
to, replaced or unlinked, at random points. Whatever happens, a message is answered as without the fault, or its error
names the file in time, and the next message works if the file does.

SLUICE is the binary, SLUICE_ROOT the checkout, SLUICE_FAULT_SHIM the library that fails reads (faults/shim.cpp).
SLUICE_FAULT_TRIALS (35) trials are drawn from SLUICE_FAULT_SEED (1); a failure names the trial, and SLUICE_FAULT_ONLY=N
repeats that one alone. 200 trials:

    SLUICE_FAULT_TRIALS=200 ctest --preset release -R faults -V
"""
import os
import pathlib
import random
import select
import shutil
import subprocess
import tempfile
import time
import unittest

import streaming

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
SHIM = os.environ["SLUICE_FAULT_SHIM"]
TRIALS = int(os.environ.get("SLUICE_FAULT_TRIALS", "35"))
SEED = int(os.environ.get("SLUICE_FAULT_SEED", "1"))
ONLY = os.environ.get("SLUICE_FAULT_ONLY")
MODEL = ROOT / "models/sluice-tiny.gguf"
FLAGS = ["-c", "256", "-t", "2"]
RAM = streaming.least_ram(SLUICE, MODEL, *FLAGS)
MESSAGES = ["What is 12 + 30?", "Sort these words: pear, apple, zebra", "Who are you?"]
IN_TIME = 2.0  # seconds from asking to an error
PLANTED = ("eio", "short", "stall")
# What is done to the file between two messages, and whether it can go on being read.
DONE_TO_FILE = {"truncate": False, "write": False, "replace": True, "unlink": True}


class Conversation:
    """The program with a pipe for messages, one at a time."""

    def __init__(self, model, engine, load_mode, fault=None, reads=None):
        env = {**os.environ, "LD_PRELOAD": SHIM, "FAULT_FILE": str(model), "FAULT_ENGINE": engine, **(fault or {})}
        if reads:
            env["FAULT_READS"] = str(reads)
        self.process = subprocess.Popen(
            [SLUICE, "run", "-m", str(model), *FLAGS, "--ram", RAM, "-n", "10", "--temp", "0", "-lm", load_mode,
             "--no-warm-start", "--disk-profile", "off"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=env)
        self.buffer = b""
        self.errors = []

    def line(self, seconds):
        """The next line of standard error; None: it has ended."""
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stderr], [], [], left)[0]:
                raise AssertionError(f"nothing happened for {seconds} s")
            piece = os.read(self.process.stderr.fileno(), 65536)
            if not piece:
                return None
            self.buffer += piece
        text, _, self.buffer = self.buffer.partition(b"\n")
        return text.decode()

    def ask(self, message):
        """(whether there was an answer, seconds); what came before /clear does not matter."""
        start = time.monotonic()
        try:
            self.process.stdin.write(f"{message}\n/clear\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        while True:
            text = self.line(60)
            if text is None:
                return None, time.monotonic() - start
            if text.startswith("[ Prompt"):
                return True, time.monotonic() - start
            if not text.startswith(("[ Experts", "memory ")):
                self.errors.append(text)
                return False, time.monotonic() - start

    def finish(self):
        """(exit code, lines of standard output)"""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        while (text := self.line(60)) is not None:
            self.errors.append(text)
        out = self.process.stdout.read().decode()
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.process.stderr.close()
        return code, out.splitlines()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def do_to(path, what, draw):
    if what == "truncate":
        os.truncate(path, draw.randrange(path.stat().st_size))
    elif what == "write":
        with open(path, "r+b") as file:
            file.seek(draw.randrange(path.stat().st_size))
            file.write(b"\x5a")
    elif what == "replace":
        other = path.with_name("other.gguf")
        other.write_bytes(b"not a model")
        other.replace(path)
    elif what == "unlink":
        path.unlink()


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.model = cls.folder / "model.gguf"
        shutil.copy(MODEL, cls.model)
        # Without faults: what the answers are, and how many reads there are.
        cls.answers, cls.reads, cls.slowest, cls.errors_seen = None, {}, 0, 0
        for engine in ("pread", "io_uring"):
            for mode in ("dio", "none"):
                counted = cls.folder / "reads"
                conversation = Conversation(cls.model, engine, mode, reads=counted)
                asked = [conversation.ask(message) for message in MESSAGES]
                code, out = conversation.finish()
                assert code == 0 and all(ok for ok, _ in asked), conversation.errors
                assert cls.answers in (None, out), "the way of reading changed the text"
                cls.answers = out
                cls.reads[engine, mode] = int(counted.read_text())
                cls.slowest = max(cls.slowest, *(seconds for _, seconds in asked))

    def check(self, conversation, asked, may_fail, may_end):
        """The outcome of a trial. `may_fail`: messages may have errors; `may_end`: so may the load."""
        code, out = conversation.finish()
        self.assertGreaterEqual(code, 0, f"ended by signal {-code}")
        for ok, seconds in asked:
            if ok is False:
                self.assertLessEqual(seconds, IN_TIME + 3 * self.slowest)
        if asked[0][0] is None or (may_end and out == [] and code == 1):
            self.assertTrue(may_end, conversation.errors)
            self.assertEqual(code, 1)
            self.assertIn("model.gguf", conversation.errors[-1])
            type(self).errors_seen += 1
            return
        failed = [ok for ok, _ in asked].count(False)
        type(self).errors_seen += failed > 0
        self.assertNotIn(None, [ok for ok, _ in asked], conversation.errors)
        if not may_fail:
            self.assertEqual(failed, 0, conversation.errors)
        for text in conversation.errors[:failed]:
            self.assertIn("model.gguf", text)
        right = [answer for answer, (ok, _) in zip(self.answers, asked) if ok]
        if failed == 0:
            self.assertEqual(out, right)
        else:  # among them lines of answers that were cut short
            lines = iter(out)
            self.assertTrue(all(answer in lines for answer in right), (out, right))
        self.assertEqual(code, 1 if failed else 0)

    def planted(self, kind, draw):
        """A fault of a read; every other one works."""
        engine, mode = draw.choice(("pread", "io_uring")), draw.choice(("dio", "none"))
        fault = {"FAULT_KIND": kind, "FAULT_AT": str(draw.randrange(self.reads[engine, mode])),
                 "FAULT_COUNT": str(draw.choice((1, 1, 3)) if kind != "stall" else 1), "FAULT_STALL_MS": "500"}
        conversation = Conversation(self.model, engine, mode, fault)
        self.addCleanup(conversation.kill)
        asked = [conversation.ask(message) for message in MESSAGES]
        refused = kind == "eio"
        self.check(conversation, asked, may_fail=refused, may_end=refused)
        # Three reads in a row may belong to two messages.
        self.assertLessEqual([ok for ok, _ in asked].count(False), 2)

    def changed(self, what, draw):
        """Something happens to the file, behind a message or while one is answered."""
        path = self.folder / f"{what}/model.gguf"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(MODEL, path)
        conversation = Conversation(path, draw.choice(("pread", "io_uring")), draw.choice(("dio", "none")))
        self.addCleanup(conversation.kill)
        asked = [conversation.ask(MESSAGES[0])]
        do_to(path, what, draw)
        asked += [conversation.ask(message) for message in MESSAGES[1:]]
        self.check(conversation, asked, may_fail=not DONE_TO_FILE[what], may_end=False)
        if not DONE_TO_FILE[what]:
            self.assertIn(False, [ok for ok, _ in asked], "nothing was read any more: the trial shows nothing")

    def test_trials(self):
        kinds = PLANTED + tuple(DONE_TO_FILE)
        seen = {}
        for number in range(TRIALS):
            if ONLY is not None and number != int(ONLY):
                continue
            draw = random.Random(f"{SEED}/{number}")
            kind = kinds[number % len(kinds)]
            with self.subTest(trial=number, kind=kind):
                (self.planted if kind in PLANTED else self.changed)(kind, draw)
                seen[kind] = seen.get(kind, 0) + 1
        print(f"{sum(seen.values())} of {TRIALS if ONLY is None else 1} trials passed: {seen}; {self.errors_seen} had errors to tell")
        if ONLY is None:
            self.assertGreater(self.errors_seen, TRIALS // 5, "the faults do not reach the program")

    def test_a_disk_that_does_not_answer(self):
        """The error comes before the disk does."""
        at = self.reads["pread", "dio"] * 6 // 10  # how many there are depends on what arrives first
        conversation = Conversation(self.model, "pread", "dio",
                                    {"FAULT_KIND": "stall", "FAULT_AT": str(at), "FAULT_COUNT": "2", "FAULT_STALL_MS": "2600"})
        self.addCleanup(conversation.kill)
        asked = [conversation.ask(message) for message in MESSAGES]
        self.assertIn("no answer from the disk", " ".join(conversation.errors))
        self.check(conversation, asked, may_fail=True, may_end=False)


if __name__ == "__main__":
    unittest.main()
