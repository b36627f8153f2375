#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/peers with the program itself as the peer: nothing is installed. SLUICE is the binary, SLUICE_ROOT the checkout."""
import json
import os
import pathlib
import shlex
import subprocess
import sys
import unittest

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
MODEL = str(ROOT / "models/sluice-tiny.gguf")
PEER = shlex.join([SLUICE, "bench", "--isa", "scalar"])


def peers(*arguments, model=MODEL):
    done = subprocess.run([sys.executable, "-B", str(ROOT / "bench/peers/peers.py"), "--sluice", SLUICE, "-m", model,
                           "-t", "2", *arguments], capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


class Peers(unittest.TestCase):
    def assert_failure(self, *parts, result):
        code, out, err = result
        self.assertEqual((code, out), (1, ""), err)
        for part in parts:
            self.assertIn(part, err)
        self.assertNotIn("Traceback", err)

    def test_table_of_alternating_rounds(self):
        code, out, err = peers("--peer-command", PEER, "--rounds", "2", "--tests", "pp4,tg2@d8,pp2+tg1")
        self.assertEqual(code, 0, err)
        lines = out.splitlines()
        self.assertIn("CPU, ", lines[1])
        self.assertRegex(lines[1], r"Peer: llama-bench, build \w+ \(\d+\)\.")
        self.assertEqual(lines[4:6], ["| test | Sluice t/s | peer t/s | ratio | min..max |", "|---|---:|---:|---:|---|"])
        for line, test in zip(lines[6:], ["pp4", "tg2 @ d8", "pp2+tg1"], strict=True):
            self.assertRegex(line, rf"^\| {test.replace('+', '.')} \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+\.\.[\d.]+ \|$")

    def test_json(self):
        code, out, err = peers("--peer-command", PEER, "--rounds", "3", "--tests", "tg2", "-d", "0,4", "--json", "-")
        self.assertEqual(code, 0, err)
        rows = json.loads(out)["tests"]
        self.assertEqual([row["n_depth"] for row in rows], [0, 4])
        for row in rows:
            pairs = zip(row["sluice_samples_ts"], row["peer_samples_ts"], strict=True)
            ratios = sorted(ours / theirs for ours, theirs in pairs)
            self.assertEqual([row["ratio_min"], row["ratio"], row["ratio_max"]], ratios)
            self.assertEqual(row["sluice_ts"], sorted(row["sluice_samples_ts"])[1])

    def test_time_to_first_token(self):
        code, out, err = peers("--peer-command", PEER, "--rounds", "1", "--tests", "ttft3,pp2", "--json", "-")
        self.assertEqual(code, 0, err)
        first, prompt = json.loads(out)["tests"]
        self.assertEqual((first["test"], prompt["test"]), ("ttft3", "pp2"))
        # Starting the program is in the first: far longer than three tokens of a small model.
        self.assertLess(first["sluice_ts"] * 3, prompt["sluice_ts"])

    def test_errors_say_what_to_do(self):
        self.assert_failure("no such file", result=peers(model="/nowhere.gguf"))
        self.assert_failure('"pp"', "pp512", result=peers("--peer-command", PEER, "--tests", "pp"))
        self.assert_failure("-d 1,x", result=peers("--peer-command", PEER, "-d", "1,x"))
        self.assert_failure("no llama-bench JSON", result=peers("--peer-command", "echo", "--tests", "tg1"))
        self.assert_failure("ended with 1", result=peers("--peer-command", "false", "--tests", "tg1"))
        self.assert_failure("--peer-isa", result=peers("--peer-command", PEER, "--peer-isa", "haswell"))
        self.assert_failure("not installed", result=peers("--peer-command", "/no/such/bench", "--tests", "tg1"))

    def test_memory_limit_holds_or_is_refused(self):
        code, out, err = peers("--peer-command", PEER, "--rounds", "1", "--tests", "tg1", "--memory", "400M", "--json", "-")
        if code == 0:
            row = json.loads(out)["tests"][0]
            for peak in row["sluice_peak_bytes"] + row["peer_peak_bytes"]:
                self.assertTrue(peak is None or 1 << 20 < peak <= 400 << 20)
        else:
            self.assert_failure("--memory: ", result=(code, out, err))


if __name__ == "__main__":
    unittest.main()
