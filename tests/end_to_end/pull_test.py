#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sluice pull, list and rm against a hub on this machine, an honest one and one that lies in every way.
SLUICE is the binary, SLUICE_ROOT the checkout. SLUICE_KILL_TRIALS: how often a download is killed (50)."""
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import tempfile
import time
import unittest

from lying_hub import COMMIT, Hub, Server

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
TINY = ROOT / "tests/data/models/qwen3moe-tiny.Q4_K_M.gguf"
MEGABYTE = 1 << 20


def content(size, seed=1):
    return b"GGUF" + random.Random(seed).randbytes(size - 4)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.store = self.server(Server())
        self.hub = self.server(Hub(self.store))

    def server(self, server):
        self.addCleanup(server.close)
        return server

    def environment(self, **more):
        clean = {name: value for name, value in os.environ.items()
                 if not name.lower().endswith("_proxy") and not name.startswith(("HF_", "MODEL_ENDPOINT"))}
        return {**clean, "HF_ENDPOINT": self.hub.address(), "HF_HOME": str(self.folder / "hf"), "no_proxy": "*",
                "XDG_CACHE_HOME": str(self.folder / "xdg"), "HF_HUB_DOWNLOAD_TIMEOUT": "1", **more}

    def run_sluice(self, *arguments, env=None, **options):
        done = subprocess.run([SLUICE, *arguments], capture_output=True, timeout=120, text=True, check=False,
                              env=self.environment(**(env or {})), **options)
        return done.returncode, done.stdout, done.stderr

    def pull(self, *arguments, **options):
        code, out, err = self.run_sluice("pull", *arguments, **options)
        self.assertEqual(code, 0, err)
        return pathlib.Path(out.strip()), err

    def assert_refused(self, *parts, arguments, code=1, env=None, **options):
        """One line, on standard error, that has all the parts; nothing that looks like a model stays."""
        got, out, err = self.run_sluice(*arguments, env=env, **options)
        self.assertEqual(got, code, err)
        self.assertEqual(out, "")
        lines = [line for line in err.splitlines() if not re.match(r" *\d+ %, |[\d.]+ [KMG]iB", line)]  # progress
        self.assertEqual(len(lines), 1, err)
        for part in parts:
            self.assertIn(part, lines[0])
        self.assertEqual([path for path in self.folder.rglob("*.gguf") if path.exists()], [])
        return lines[0]

    def repo_folder(self, repository):
        return self.folder / "hf/hub" / ("models--" + repository.replace("/", "--"))


class Honest(Case):
    def test_the_folder_is_the_one_that_other_programs_read(self):
        data = content(3 * MEGABYTE)
        self.hub.add("owner/Model-GGUF", {"Model-Q4_K_M.gguf": data, "Model-Q8_0.gguf": content(5000)})
        path, err = self.pull("owner/Model-GGUF")
        folder = self.repo_folder("owner/Model-GGUF")
        self.assertEqual(path, folder / f"snapshots/{COMMIT}/Model-Q4_K_M.gguf")
        self.assertEqual(os.readlink(path), f"../../blobs/{sha256(data)}")
        self.assertEqual((folder / "refs/main").read_text(), COMMIT)
        self.assertEqual(path.read_bytes(), data)
        self.assertEqual(sorted(os.listdir(folder / "blobs")), [sha256(data)])
        self.assertEqual((folder / "blobs" / sha256(data)).stat().st_mode & 0o777, 0o644 & ~self.umask())
        self.assertIn("owner/Model-GGUF:Q4_K_M: 3.0 MiB", err)
        self.assertIn("SHA-256 is right", err)

    @staticmethod
    def umask():
        mask = os.umask(0)
        os.umask(mask)
        return mask

    def test_what_is_here_is_not_fetched_again(self):
        self.hub.add("owner/Model", {"Model-Q4_K_M.gguf": content(MEGABYTE)})
        first, _ = self.pull("owner/Model")
        self.store.requests.clear()
        second, err = self.pull("owner/Model")
        self.assertEqual(first, second)
        self.assertEqual(self.store.requests, [])
        self.assertIn("was here", err)

    def test_quantisations_are_chosen_by_name(self):
        files = {"m-Q4_K.gguf": content(10), "m-Q4_K_M.gguf": content(20), "m-UD-Q4_K_M.gguf": content(30),
                 "BF16/m-BF16-00001-of-00002.gguf": content(40), "BF16/m-BF16-00002-of-00002.gguf": content(50),
                 "mmproj-F16.gguf": content(60), "README.md": b"text"}
        self.hub.add("o/m", files)
        for name, expected in (("o/m", "m-Q4_K_M.gguf"), ("o/m:q4_k", "m-Q4_K.gguf"), ("o/m:Q4_K_M", "m-Q4_K_M.gguf"),
                               ("o/m:UD-Q4_K_M", "m-UD-Q4_K_M.gguf"), ("o/m:BF16", "BF16/m-BF16-00001-of-00002.gguf")):
            path, _ = self.pull(name)
            self.assertTrue(str(path).endswith("/" + expected), path)
        self.assertTrue(path.with_name("m-BF16-00002-of-00002.gguf").exists())
        path, _ = self.pull("o/m", "--hf-file", "m-UD-Q4_K_M.gguf")
        self.assertEqual(path.read_bytes(), files["m-UD-Q4_K_M.gguf"])

    def test_a_list_of_several_pages(self):
        data = content(MEGABYTE)
        entries = self.hub.add("o/long", {"m-Q4_K_M.gguf": data})
        tree = f"/api/models/o/long/tree/{COMMIT}"
        self.hub.files[tree] = lambda handler: (
            handler.answer(200, json.dumps(entries).encode()) if "cursor" in handler.path else
            handler.answer(200, json.dumps([{"type": "file", "path": "a.bin", "oid": "0" * 40, "size": 1}]).encode(),
                           {"Link": f'<https://huggingface.co{tree}?recursive=1&cursor=abc>; rel="next"'}))
        path, _ = self.pull("o/long")
        self.assertEqual(path.read_bytes(), data)

    def test_an_address(self):
        data = content(2 * MEGABYTE)
        self.store.files["/some/model.gguf"] = data
        address = self.store.address() + "/some/model.gguf"
        path, err = self.pull(address)
        self.assertEqual(path.read_bytes(), data)
        self.assertIn(sha256(data), err)
        self.store.requests.clear()
        self.assertIn("was here", self.pull(address)[1])
        self.assertEqual(len(self.store.requests), 1)  # is there another version?
        self.store.files["/some/model.gguf"] = content(MEGABYTE, 2)
        self.store.etag = '"version-2"'
        self.assertEqual(self.pull(address)[0].read_bytes(), content(MEGABYTE, 2))
        target = self.folder / "mine.gguf"
        self.pull(address, "-o", str(target), "--sha256", sha256(content(MEGABYTE, 2)))
        self.assertEqual(target.read_bytes(), content(MEGABYTE, 2))

    def test_an_address_of_parts(self):
        for number in (1, 2, 3):
            self.store.files[f"/m-0000{number}-of-00003.gguf"] = content(1000 * number)
        path, _ = self.pull(self.store.address() + "/m-00001-of-00003.gguf")
        self.assertEqual(path.with_name("m-00003-of-00003.gguf").read_bytes(), content(3000))

    def test_an_address_of_the_hub_goes_to_the_shared_folder(self):
        self.hub.add("o/m", {"sub/m-Q8_0.gguf": content(5000), "m-Q4_K_M.gguf": content(100)})
        self.hub.files["/api/models/o/m/revision/v1"] = json.dumps({"sha": COMMIT}).encode()
        path, _ = self.pull(self.hub.address() + "/o/m/resolve/v1/sub/m-Q8_0.gguf?download=true")
        self.assertEqual(path, self.repo_folder("o/m") / f"snapshots/{COMMIT}/sub/m-Q8_0.gguf")
        self.assertEqual((self.repo_folder("o/m") / "refs/v1").read_text(), COMMIT)

    def test_run_downloads_and_the_second_run_needs_no_network(self):
        self.hub.add("o/tiny", {"tiny-Q4_K_M.gguf": TINY.read_bytes()})
        flags = ("-p", "Hello", "-n", "4", "-no-cnv", "--temp", "0")
        expected = self.run_sluice("run", "-m", str(TINY), *flags)[1]
        self.assertTrue(expected)
        self.assertEqual(self.run_sluice("run", "-hf", "o/tiny", *flags)[1], expected)
        before = len(self.hub.requests)
        self.assertEqual(self.run_sluice("run", "-hf", "o/tiny:Q4_K_M", *flags)[1], expected)
        self.assertEqual(self.run_sluice("run", "-hf", "o/tiny", "--offline", *flags)[1], expected)
        code, out, err = self.run_sluice("bench", "-hf", "o/tiny", "-p", "8", "-n", "0", "-r", "1", "-o", "csv")
        self.assertEqual(code, 0, err)
        self.assertIn("pp8" if "pp8" in out else "tiny-Q4_K_M.gguf", out)
        self.assertEqual(len(self.hub.requests), before)
        self.assertEqual(self.run_sluice("inspect", "-hf", "o/tiny")[0], 0)
        self.store.files["/t.gguf"] = TINY.read_bytes()
        self.assertEqual(self.run_sluice("run", "-mu", self.store.address() + "/t.gguf", *flags)[1], expected)

    def test_headers_are_read_where_they_lie(self):
        self.hub.add("o/tiny", {"tiny-Q4_K_M.gguf": TINY.read_bytes() + bytes(30 * MEGABYTE)})
        code, out, err = self.run_sluice("inspect", "-hf", "o/tiny")
        self.assertEqual(code, 0, err)
        same = self.run_sluice("inspect", "-m", str(TINY))[1]
        self.assertEqual(out.splitlines()[2:], same.splitlines()[2:])
        self.assertEqual(len(self.store.requests), 2)
        self.assertFalse(self.repo_folder("o/tiny").exists())
        self.assertEqual(self.run_sluice("inspect", "o/tiny")[1], out)
        ids = self.run_sluice("tokenize", "-hf", "o/tiny", "-p", "Hello", "--ids")[1]
        self.assertEqual(ids, self.run_sluice("tokenize", "-m", str(TINY), "-p", "Hello", "--ids")[1])
        self.assertTrue(ids)
        code, _, err = self.run_sluice("inspect", self.store.address() + "/none.gguf")
        self.assertEqual(code, 1)
        self.assertIn("does not exist (404)", err)

    def test_a_plan_needs_no_download(self):
        self.hub.add("o/tiny", {"tiny-Q4_K_M.gguf": TINY.read_bytes() + bytes(30 * MEGABYTE)})
        laptop = ("--json", "--machine", str(ROOT / "machines/rtx3060-laptop.json"))
        code, out, err = self.run_sluice("plan", "o/tiny", *laptop)
        self.assertEqual(code, 0, err)
        self.assertEqual(len(self.store.requests), 2)
        self.assertFalse(self.repo_folder("o/tiny").exists())
        plan, same = json.loads(out), json.loads(self.run_sluice("plan", str(TINY), *laptop)[1])
        self.assertTrue(plan["fits"])
        self.assertEqual(plan["memory"], same["memory"])
        self.store.files["/t.gguf"] = TINY.read_bytes()
        self.assertEqual(self.run_sluice("plan", self.store.address() + "/t.gguf", *laptop)[0], 0)
        self.assertIn("404", self.run_sluice("plan", self.store.address() + "/none.gguf", *laptop)[2])

    def test_list_and_rm(self):
        self.assertIn("no models", self.run_sluice("list")[1])
        shared = content(MEGABYTE)
        self.hub.add("o/m", {"m-Q4_K_M.gguf": shared, "m-Q8_0.gguf": content(2000)})
        self.store.files["/x/other.gguf"] = content(3000)
        self.pull("o/m")
        self.pull("o/m:Q8_0")
        self.pull(self.store.address() + "/x/other.gguf")
        listed = json.loads(self.run_sluice("list", "--json")[1])
        self.assertEqual([(one["name"], one["bytes"], one["complete"]) for one in listed],
                         [(self.store.address() + "/x/other.gguf", 3000, True), ("o/m:Q4_K_M", MEGABYTE, True),
                          ("o/m:Q8_0", 2000, True)])
        self.assertIn("o/m:Q8_0", self.run_sluice("list")[1])
        self.assertIn("1.0 MiB free", self.run_sluice("rm", "o/m:Q4_K_M")[1])
        self.assertFalse((self.repo_folder("o/m") / "blobs" / sha256(shared)).exists())
        self.assertTrue((self.repo_folder("o/m") / "blobs" / sha256(content(2000))).exists())
        self.run_sluice("rm", "o/m", self.store.address() + "/x/other.gguf")
        self.assertFalse(self.repo_folder("o/m").exists())
        self.assertIn("no models", self.run_sluice("list")[1])
        self.assert_refused("o/m:Q4_K_M", "is not here", "sluice list", arguments=["rm", "o/m:Q4_K_M"])

    def test_rm_leaves_what_another_snapshot_needs(self):
        self.hub.add("o/m", {"m-Q4_K_M.gguf": content(5000)})
        path, _ = self.pull("o/m")
        other = path.parent.parent / ("b" * 40) / path.name
        other.parent.mkdir()
        os.symlink(os.readlink(path), other)
        (path.parent / "config.json").write_text("{}")  # of another program
        models = json.loads(self.run_sluice("list", "--json")[1])
        self.assertEqual(len(models), 2)
        self.assertIn("0.0 KiB free", self.run_sluice("rm", str(path))[1])
        self.assertEqual(other.read_bytes(), content(5000))
        self.assertFalse(path.exists())
        self.assertTrue((path.parent / "config.json").exists())

    def test_verify_finds_a_damaged_file(self):
        data = content(MEGABYTE)
        self.hub.add("o/m", {"m-Q4_K_M.gguf": data})
        path, _ = self.pull("o/m")
        with open(path, "r+b") as file:
            file.seek(500000)
            file.write(b"\0\0\0\0")
        self.assertNotEqual(path.read_bytes(), data)
        self.pull("o/m", "--verify")
        self.assertEqual(path.read_bytes(), data)

    def test_two_at_once(self):
        self.store.slow = 0.15
        self.hub.add("o/m", {"m-Q4_K_M.gguf": content(4 * MEGABYTE)})
        first = subprocess.Popen([SLUICE, "pull", "o/m"], env=self.environment(), stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
        self.wait_for_journal("o/m")
        self.assert_refused("is being downloaded by another process", arguments=["pull", "o/m"], code=2)
        self.assert_refused("is being downloaded", arguments=["rm", "o/m:Q4_K_M"], code=2)
        self.assertEqual(first.wait(timeout=60), 0)
        first.stdout.close()

    def wait_for_journal(self, repository):
        end = time.monotonic() + 20
        while not list(self.repo_folder(repository).glob("blobs/*.journal")):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def test_interrupt_says_how_to_go_on(self):
        self.store.slow = 0.05
        self.hub.add("o/m", {"m-Q4_K_M.gguf": content(8 * MEGABYTE)})
        process = subprocess.Popen([SLUICE, "pull", "o/m"], env=self.environment(), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.wait_for_journal("o/m")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"the same command goes on from here", err)
        self.assertRegex(self.run_sluice("list")[1], r"o/m:Q4_K_M +\d+ % of 8.0 MiB +not complete")
        self.store.slow = 0
        self.assertEqual(self.pull("o/m")[0].read_bytes(), content(8 * MEGABYTE))


class Killed(Case):
    def test_the_file_is_right_after_every_kill(self):
        trials = int(os.environ.get("SLUICE_KILL_TRIALS", "50"))
        data = content(30 * MEGABYTE)
        self.store.slow = 0.01
        self.hub.add("o/m", {"m-Q4_K_M.gguf": data})
        blob = self.repo_folder("o/m") / "blobs" / sha256(data)
        incomplete, journal = (pathlib.Path(f"{blob}.sluice.{name}") for name in ("incomplete", "journal"))
        seed = random.randrange(1 << 30)
        chance = random.Random(seed)
        kills = resumed = right = 0
        while kills < trials:
            process = subprocess.Popen([SLUICE, "pull", "o/m"], env=self.environment(), stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE)
            try:
                process.wait(timeout=chance.uniform(0.02, 0.4))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            err = process.communicate()[1].decode()
            if process.returncode == 0:
                right += self.is_right(blob, data, journal)
                blob.unlink()
            else:
                self.assertEqual(process.returncode, -signal.SIGKILL, err)
                resumed += self.check_journal(journal, incomplete, data, seed)
        path, _ = self.pull("o/m")
        right += self.is_right(blob, data, journal)
        self.assertEqual(path.read_bytes(), data)
        print(f"{kills} kills, {resumed} with pieces kept, {right} whole files, all right")
        self.assertGreater(resumed, trials // 4)

    def is_right(self, blob, data, journal):
        self.assertEqual(sha256(blob.read_bytes()), sha256(data))
        self.assertFalse(journal.exists())
        return 1

    def check_journal(self, journal, incomplete, data, seed):
        """Whatever the journal claims is in the file."""
        if not journal.exists():
            return 0
        head, *runs = journal.read_text().split("\n")[:-1] or [""]
        if not runs:
            return 0
        piece = json.loads(head)["piece"]
        there = incomplete.read_bytes()
        for run in runs:
            first, count = map(int, run.split())
            part = slice(first * piece, (first + count) * piece)
            self.assertEqual(sha256(there[part]), sha256(data[part]), f"run {run}, seed {seed}")
        return 1

    def test_a_resumed_download_fetches_only_the_rest(self):
        data = content(8 * MEGABYTE)
        self.store.slow = 0.02
        self.hub.add("o/m", {"m-Q4_K_M.gguf": data})
        process = subprocess.Popen([SLUICE, "pull", "o/m", "--connections", "1"], env=self.environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1.5)
        process.kill()
        process.wait()
        self.store.slow = 0
        _, err = self.pull("o/m")
        fetched = float(err.splitlines()[-1].split("MiB, ")[1].split()[0])
        self.assertGreater(fetched, 0.2)
        self.assertLess(fetched, 7.5)

    def test_a_damaged_journal_starts_anew(self):
        data = content(2 * MEGABYTE)
        self.hub.add("o/m", {"m-Q4_K_M.gguf": data})
        blobs = self.repo_folder("o/m") / "blobs"
        for text in ("", "rubbish\n", '{"sluice_download":1}\n0 8\n', '{"sluice_download":1,"name":"o/m m-Q4_K_M.gguf",'
                     f'"identity":"{sha256(data)}","size":{len(data)},"piece":262144}}\n0 9\n',
                     '[' * 100000 + "\n", "\0" * 5000):
            blobs.mkdir(parents=True, exist_ok=True)
            (blobs / (sha256(data) + ".sluice.journal")).write_text(text)
            (blobs / (sha256(data) + ".sluice.incomplete")).write_bytes(bytes(len(data)))
            self.run_sluice("list")
            path, _ = self.pull("o/m")
            self.assertEqual(path.read_bytes(), data, text[:80])
            self.run_sluice("rm", "o/m")

    def test_a_journal_without_its_data_starts_anew(self):
        data = content(2 * MEGABYTE)
        self.hub.add("o/m", {"m-Q4_K_M.gguf": data})
        blobs = self.repo_folder("o/m") / "blobs"
        blobs.mkdir(parents=True)
        (blobs / (sha256(data) + ".sluice.journal")).write_text(
            '{"sluice_download":1,"name":"o/m m-Q4_K_M.gguf",'
            f'"identity":"{sha256(data)}","size":{len(data)},"piece":262144}}\n0 8\n')
        self.assertEqual(self.pull("o/m")[0].read_bytes(), data)


if __name__ == "__main__":
    unittest.main()
