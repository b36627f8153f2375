#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sluice plan and sluice doctor from outside: what they say, what they remember, and what they refuse."""
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
MODEL = str(ROOT / "models/sluice-tiny.gguf")
LAPTOP = str(ROOT / "machines/rtx3060-laptop.json")


class Plan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.cache = pathlib.Path(cls.folder.name) / "sluice"
        cls.cache.mkdir()
        # What an earlier version, or a disk that was full, left behind.
        (cls.cache / "machine.json").write_text('{"version": 0}')
        cls.first = cls.run_sluice("plan", MODEL, "--json", "-ngl", "0")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def run_sluice(cls, *arguments):
        return subprocess.run([SLUICE, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "XDG_CACHE_HOME": cls.folder.name})

    def refused(self, code, *arguments):
        done = self.run_sluice(*arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.stderr

    def test_a_damaged_measurement_is_made_anew(self):
        self.assertEqual(self.first.returncode, 0, self.first.stderr)
        lines = self.first.stderr.splitlines()
        self.assertEqual(len(lines), 2, self.first.stderr)
        self.assertIn("machine.json: version must be 1", lines[0])
        self.assertIn("(measured anew)", lines[0])
        self.assertIn("measuring this machine", lines[1])
        machine = json.loads((self.cache / "machine.json").read_text())
        self.assertGreaterEqual(len(machine["processor"]["rates"]["types"]), 4)

    def test_it_is_measured_once(self):
        again = self.run_sluice("plan", "-m", MODEL, "--json", "-ngl", "0")
        self.assertEqual((again.returncode, again.stderr), (0, ""))
        first, second = json.loads(self.first.stdout), json.loads(again.stdout)
        for plan in (first, second):
            del plan["memory"]["budget"]  # what is free changes
        self.assertEqual(first["memory"], second["memory"])
        self.assertAlmostEqual(first["tg128"]["value"] / second["tg128"]["value"], 1, places=6)

    def test_what_it_says(self):
        plan = json.loads(self.first.stdout)
        self.assertTrue(plan["fits"] and plan["all_in_memory"])
        for field in ("tg128", "pp512", "pp2048", "first_token_seconds_30", "first_token_seconds_512"):
            self.assertTrue(0 < plan[field]["low"] < plan[field]["value"] < plan[field]["high"], field)
        self.assertEqual(plan["tiers"]["disk"], {"bytes": 0, "bytes_per_token": 0})
        memory = plan["memory"]
        self.assertEqual(memory["total"], memory["weights"] + memory["experts"] + memory["context"] + memory["buffers"])
        text = self.run_sluice("plan", MODEL, "-ngl", "0").stdout
        for title in ("model", "machine", "fits", "memory", "a token", "generates", "prompts", "first"):
            self.assertRegex(text, rf"(?m)^{title} +\S")

    def test_the_plan_is_what_run_does(self):
        flags = ["--ram", "60M", "-c", "512", "-ngl", "0"]
        plan = json.loads(self.run_sluice("plan", MODEL, "--json", *flags).stdout)
        done = self.run_sluice("run", "-m", MODEL, "-p", "Hello", "-n", "4", "-st", "-lv", "3", *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        planned = float(re.search(r"memory ([\d.]+) of ", done.stderr)[1])
        self.assertAlmostEqual(plan["memory"]["total"] / (1 << 30), planned, delta=0.006)

    def test_other_machines(self):
        done = self.run_sluice("plan", MODEL, "--machine", LAPTOP)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("RTX 3060", done.stdout)
        self.assertIn("VRAM", done.stdout)
        self.assertIn("assumed", done.stdout)
        bad = pathlib.Path(self.folder.name) / "bad.json"
        bad.write_text(pathlib.Path(LAPTOP).read_text().replace('"threads": 6', '"threads": "six"', 1))
        self.assertIn("processor.threads must be a number", self.refused(1, "plan", MODEL, "--machine", bad))
        self.assertIn("none.json", self.refused(1, "plan", MODEL, "--machine", "none.json"))

    def test_other_prompts(self):
        plan = json.loads(self.run_sluice("plan", MODEL, "--json", "-ngl", "0", "-p", "700").stdout)
        self.assertEqual(plan["prompt"]["tokens"], 700)
        # Between those of the usual lengths, or near them.
        speeds = [plan["pp512"]["value"], plan["pp2048"]["value"]]
        self.assertTrue(0.7 * min(speeds) < plan["prompt"]["value"] < 1.4 * max(speeds), plan)
        self.assertRegex(self.run_sluice("plan", MODEL, "-ngl", "0", "-p", "700").stdout, r"prompts .* \(pp700\)")
        self.assertIn("-p 512: the context has room for 256", self.refused(2, "plan", MODEL, "-c", "256", "-p", "512"))

    def test_what_cannot_fit_says_what_would(self):
        plan = json.loads(self.run_sluice("plan", MODEL, "--json", "--ram", "20M", "-ngl", "0").stdout)
        self.assertFalse(plan["fits"])
        self.assertIn("use --ram", plan["refusal"])
        self.assertTrue(any(advice["makes_it_fit"] for advice in plan["advice"]))

    def test_bad_input(self):
        self.assertIn("no model", self.refused(2, "plan"))
        self.assertIn("none.gguf", self.refused(1, "plan", "none.gguf"))
        self.assertIn("README.md", self.refused(1, "plan", ROOT / "README.md"))
        self.assertIn("--ram", self.refused(2, "plan", MODEL, "--ram", "much"))
        self.assertIn("-c 99999999: the model was trained for", self.refused(2, "plan", MODEL, "-c", "99999999"))
        self.assertIn("-d 512: the context has 256", self.refused(2, "plan", MODEL, "-c", "256", "-d", "512"))
        self.assertIn("one of --machine", self.refused(2, "plan", MODEL, "--machine", LAPTOP, "--remeasure"))
        self.assertIn("one model", self.refused(2, "plan", MODEL, MODEL))

    def test_runs_teach_predictions(self):
        done = self.run_sluice("bench", "-m", MODEL, "-p", "0", "-n", "3000", "-r", "1", "-lv", "3", "-ngl", "0")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"tokens/s were predicted, [\d.]+ measured")
        learned = json.loads((self.cache / "corrections.json").read_text())
        self.assertEqual(learned["kinds"]["cpu decode"]["count"], 1)
        self.assertTrue(0.25 <= learned["kinds"]["cpu decode"]["factor"] <= 4)
        # Damaged corrections change nothing, and are written anew.
        (self.cache / "corrections.json").write_text("no")
        plan = self.run_sluice("plan", MODEL, "--json", "-ngl", "0")
        self.assertEqual((plan.returncode, plan.stderr), (0, ""))


    def served(self):
        """One long answer by a server; returns (log, /props, /metrics) and what is remembered after a graceful end."""
        process = subprocess.Popen([SLUICE, "serve", "-m", MODEL, "--port", "0", "-ngl", "0", "-np", "1", "-lv", "3"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env={**os.environ, "XDG_CACHE_HOME": self.folder.name})
        try:
            line = process.stdout.readline()
            address = re.match(r"listening on (http://\S+),", line)[1]

            def ask(path, body=None):
                with urllib.request.urlopen(address + path, body and json.dumps(body).encode(), timeout=60) as answer:
                    return answer.read().decode()
            ask("/completion", {"prompt": "The Linux kernel", "n_predict": 1900, "ignore_eos": True, "temperature": 0})
            for _ in range(100):  # compared beside the answers
                props = json.loads(ask("/props"))
                speeds = props["tokens_per_second"]
                if not speeds or speeds["generation"]["measured"]:
                    break
                time.sleep(0.05)
            metrics = ask("/metrics")
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0, log)
        return log, props, metrics

    def test_servers_teach_predictions(self):
        corrections = self.cache / "corrections.json"
        corrections.unlink(missing_ok=True)
        log, props, metrics = self.served()
        self.assertRegex(log, r"predicted: prompts of 512 tokens at [\d.]+, answers at [\d.]+ tokens/s")
        speed = props["tokens_per_second"]["generation"]
        self.assertGreater(speed["predicted"], 0)
        self.assertGreater(speed["measured"], 0)
        self.assertGreater(props["tokens_per_second"]["prompt"]["predicted"], 0)
        for name, value in (("forecast", speed["predicted"]), ("compared", speed["measured"])):
            shown = re.search(rf'(?m)^sluice_{name}_tokens_seconds{{of="generation"}} (\S+)$', metrics)
            self.assertAlmostEqual(float(shown[1]) / value, 1, places=4)
        learned = json.loads(corrections.read_text())["kinds"]["cpu decode"]
        self.assertEqual(learned["count"], 1)
        self.assertTrue(0.25 <= learned["factor"] <= 4)
        # What one server learned, the next adds to.
        self.served()
        self.assertEqual(json.loads(corrections.read_text())["kinds"]["cpu decode"]["count"], 2)

    def test_a_server_on_a_machine_that_was_never_measured(self):
        machine = self.cache / "machine.json"
        hidden = machine.rename(self.cache / "hidden.json")
        corrections = self.cache / "corrections.json"
        before = corrections.read_bytes() if corrections.exists() else None
        try:
            log, props, metrics = self.served()
        finally:
            hidden.rename(machine)
        self.assertNotIn("predicted:", log)
        self.assertIsNone(props["tokens_per_second"])
        self.assertNotIn("forecast", metrics)
        self.assertEqual(corrections.read_bytes() if corrections.exists() else None, before)


class Doctor(unittest.TestCase):
    def test_every_finding_is_a_line(self):
        done = subprocess.run([SLUICE, "doctor", str(ROOT)], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for line in done.stdout.splitlines():
            self.assertRegex(line, r"^(ok   |note )  \w")
        self.assertIn("processor", done.stdout)
        found = json.loads(subprocess.run([SLUICE, "doctor", "--json"], capture_output=True, text=True, check=True,
                                          timeout=30).stdout)
        self.assertGreaterEqual(len(found), 6)
        for finding in found:
            self.assertEqual(finding["severity"] != "ok", finding["remedy"] != "", finding)

    def test_bad_input(self):
        done = subprocess.run([SLUICE, "doctor", "/no/such/folder"], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no/such/folder: there is no such file or folder", done.stderr)


if __name__ == "__main__":
    unittest.main()
