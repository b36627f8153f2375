#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a run used is read first by the next one, and files that remember it may be missing, damaged or unwritable. SLUICE
is the binary, SLUICE_ROOT the checkout."""
import json
import os
import pathlib
import random
import re
import statistics
import subprocess
import tempfile
import time
import unittest

import streaming

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
MODEL = str(ROOT / "models/sluice-tiny.gguf")
FLAGS = ["-c", "256", "-t", "2"]
# Most experts fit, but not all.
RAM = f"{int(streaming.least_ram(SLUICE, MODEL, *FLAGS)[:-1]) + 4}M"
TOKEN_EXPERTS = 6 * 4


class WarmStart(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def chat(self, *flags, pause=0.0):
        """Asks one thing after a pause: (text, share of experts in memory in percent, other lines of standard error)"""
        command = [SLUICE, "run", "-m", MODEL, *FLAGS, "--ram", RAM, "--disk-profile", "off", "-n", "6", "--temp", "0"]
        process = subprocess.Popen([*command, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env={**os.environ, "XDG_CACHE_HOME": str(self.folder)})
        time.sleep(pause)  # somebody types; the disk is idle
        out, err = process.communicate(b"What is 12 + 30?\n", timeout=120)
        self.assertEqual(process.returncode, 0, err)
        lines = err.decode().splitlines()
        hits = [float(m[1]) for line in lines if (m := re.match(r"\[ Experts: ([\d.]+) % of", line))]
        self.assertEqual(len(hits), 1, lines)
        return out, hits[0], [line for line in lines if not line.startswith(("[ ", "memory "))]

    def remembered(self):
        return sorted((self.folder / "sluice/usage").glob("*"))

    def test_the_second_run_finds_more_in_memory(self):
        text, _, _ = self.chat()
        self.assertEqual(len(self.remembered()), 1)
        # How far the disk gets ahead of the prompt's sweep varies from run to run: medians.
        warm, off = [], []
        for _ in range(5):
            for flags, hits in (((), warm), (("--no-warm-start",), off)):
                answer, share, _ = self.chat(*flags, pause=0.7)
                self.assertEqual(answer, text)
                hits.append(share)
        # Most of the rest is what the prompt's sweep reads.
        self.assertGreater(statistics.median(warm), statistics.median(off) + 5, (warm, off))

    def test_nothing_is_remembered_without_it(self):
        self.chat("--no-warm-start")
        self.assertEqual(self.remembered(), [])

    def test_damaged_files_do_no_harm(self):
        text, _, _ = self.chat()
        path, = self.remembered()
        good = path.read_bytes()
        draw = random.Random(3)
        damages = [b"", good[:-1], good[:len(good) // 2], draw.randbytes(3000), b"sluice-usage 2" + good[14:],
                   good.replace(b"\n", b"\n9", 1), good + b"1\n", b"\0" * 20_000_000]
        for damage in damages:
            path.write_bytes(damage)
            got, _, lines = self.chat()
            self.assertEqual(got, text)
            self.assertEqual(len(lines), 1, lines)
            self.assertIn(str(path), lines[0])
            self.assertIn("ignored", lines[0])
            self.assertEqual(self.chat()[2], [], "it was not written anew")
        path.unlink()
        path.mkdir()  # cannot be read, cannot be replaced
        got, _, lines = self.chat()
        self.assertEqual(got, text)
        self.assertEqual(len(lines), 2, lines)

    def test_a_folder_that_cannot_be_written(self):
        (self.folder / "sluice").write_text("not a folder")
        _, _, lines = self.chat()
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("the next start is a cold one", lines[0])

    def test_bench_remembers_and_tells_where_experts_were(self):
        env = {**os.environ, "XDG_CACHE_HOME": str(self.folder)}
        command = [SLUICE, "bench", "-m", MODEL, "--ram", RAM, "-t", "2", "-p", "0", "-n", "8", "-r", "2", "-o", "json", "--experts"]
        done = subprocess.run(command, capture_output=True, env=env, check=False, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        result, = json.loads(done.stdout)
        self.assertEqual(result["experts_ram"] + result["experts_ssd"], TOKEN_EXPERTS * 16)
        self.assertGreater(result["experts_ssd"], 0)
        self.assertGreater(result["experts_bytes_read"], 0)
        self.assertGreater(result["experts_read_gbs"], 0)
        self.assertGreater(result["experts_stalled_ns"], 0)
        self.assertEqual(len(self.remembered()), 1)
        self.assertEqual(list(result)[-7:], ["load_ns", "experts_ram", "experts_ssd", "experts_bytes_read",
                                             "experts_read_gbs", "experts_stalled_ns", "experts_stalled_gbs"])


if __name__ == "__main__":
    unittest.main()
