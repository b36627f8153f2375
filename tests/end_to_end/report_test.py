#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`sluice report` as a black box: good and bad cases, kills, Ctrl-C, other languages, comparison. The page is read by a
parser that knows which tags must close. SLUICE_FAKE_NVML: a management library for GPUs that does not need one."""
import html.parser
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
TINY = str(ROOT / "models/sluice-tiny.gguf")
QUICK = ["-p", "32", "-n", "8", "-r", "1", "--answer", "16", "-ngl", "0"]


def run(*arguments, env=None):
    done = subprocess.run([SLUICE, "report", *map(str, arguments)], capture_output=True, timeout=120, check=False,
                          env={**os.environ, **(env or {})})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def children_of(pid):
    """[(pid, command)] of a process."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().decode().split("\0")
        except (OSError, IndexError):
            continue
        if int(fields[1]) == pid:
            found.append((int(folder.name), command))
    return found


def wait_for_child(process, word):
    """The process that runs `sluice WORD` for the report, once it has its own arguments."""
    for _ in range(600):
        for pid, command in children_of(process.pid):
            if len(command) > 1 and command[1] == word:
                return pid
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"no {word} was started: {process.communicate()}")


class Page(html.parser.HTMLParser):
    """What is on a page; fails where tags do not match."""
    VOID = {"meta", "br", "img", "rect", "line"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.sections, self.rows, self.text, self.references = [], [], [], "", []
        self.language = None
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_startendtag(self, tag, attributes):
        self.check(attributes)

    def handle_starttag(self, tag, attributes):
        self.check(attributes)
        assert tag not in {"script", "link", "iframe", "object"}, tag
        values = dict(attributes)
        if tag == "html":
            self.language = values["lang"]
        if tag == "section":
            self.sections.append(values["id"])
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def check(self, attributes):
        self.references += [value for name, value in attributes if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> in {self.open}"
        self.open.pop()

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if self.rows and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data


class Report(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out"

    def read(self, out=None):
        """The three forms of a report, checked against each other; returns (JSON, page)."""
        out = out or self.out
        data = json.loads((out / "report.json").read_text())
        text = (out / "report.html").read_text()
        page = Page(text)
        markdown = (out / "report.md").read_text()
        self.assertEqual(page.references, [], "nothing from elsewhere")
        self.assertNotIn("nan", re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan[a-z]*", "", page.text))
        for sentence in data["conclusion"]:
            self.assertIn(sentence, page.text)
        plots = re.findall(r"\]\(plots/([\w-]+\.svg)\)", markdown)
        self.assertEqual(len(plots), text.count("<svg"))
        for name in plots:
            xml.etree.ElementTree.fromstring((out / "plots" / name).read_text())
        return data, page

    def test_a_model_and_a_file_that_is_cut_short(self):
        cut = self.folder / "cut.gguf"
        cut.write_bytes(pathlib.Path(TINY).read_bytes()[:9_000_000])
        code, out, err = run("-m", TINY, "-m", cut, "--ram", "300M,200M", "-o", self.out, *QUICK)
        self.assertEqual(code, 0, err)
        self.assertIn(str(self.out / "report.html"), out)
        self.assertIn("case 4 of 4: cut, --ram 200M -ngl 0", err)
        data, page = self.read()
        self.assertEqual((data["format"], data["version"], data["complete"]), ("sluice-report", 1, True))
        self.assertEqual(len(data["cases"]), 4)
        for case in data["cases"][:2]:
            self.assertEqual(case["failures"], [])
            self.assertGreater(case["bench"]["prompt_tokens_per_s"], 0)
            self.assertGreater(case["bench"]["generation_tokens_per_s"], 0)
            self.assertGreater(case["answer"]["first_token_s"], 0)
            self.assertGreater(case["answer"]["generated_tokens"], 0)
            self.assertGreater(case["peaks"]["rss_bytes"], 10 << 20)
            self.assertEqual([r["stage"] for r in case["recordings"]], ["bench", "run"])
            for recording in case["recordings"]:
                times = recording["samples"]["time_s"]
                self.assertGreaterEqual(len(times), 1)
                self.assertEqual(times, sorted(times))
        for case in data["cases"][2:]:
            self.assertIsNone(case["bench"])
            self.assertEqual([f["cause"] for f in case["failures"]], ["refused", "refused"])
            self.assertIn("cut.gguf", case["failures"][0]["message"])
            self.assertEqual(case["failures"][0]["exit_code"], 1)
        self.assertIn("2 of 4 cases ran to their end.", data["conclusion"])
        for section in ("conclusion", "results", "speed", "failures", "resources", "answers", "machine", "settings"):
            self.assertIn(section, page.sections)
        # What the table says is what was measured.
        row = next(row for row in page.rows if row[:2] == ["--ram 300M -ngl 0", "ok"])
        speed = data["cases"][0]["bench"]["generation_tokens_per_s"]
        self.assertAlmostEqual(float(row[4]), speed, delta=0.01 * speed + 0.01)
        self.assertEqual((row[6], row[10]), ("no GPU", "no GPU"))
        self.assertIn("未来人工智能", data["question"])
        # What was predicted stands beside it; the machine was measured where it was not yet.
        predicted = data["cases"][0]["predicted"]
        self.assertEqual(predicted["prompt_tokens"], 32)
        self.assertGreater(predicted["prompt_tokens_per_s"], 0)
        self.assertGreater(predicted["generation_tokens_per_s"], 0)
        row = next(row for row in page.rows if row[:1] == ["--ram 300M -ngl 0"] and "(" in row[1])
        self.assertAlmostEqual(float(row[4]) / predicted["prompt_tokens_per_s"], 1, delta=0.01)
        self.assertRegex(row[3] + row[6], r"^[+-]\d+ %[+-]\d+ %$")

        # The same numbers in Chinese, and compared with themselves.
        code, out, err = run("--from", self.out, "--lang", "zh", "--compare", self.out, "-o", self.folder / "zh")
        self.assertEqual(code, 0, err)
        chinese, page = self.read(self.folder / "zh")
        self.assertEqual(page.language, "zh-CN")
        self.assertIn("4 个用例中有 2 个运行成功。", page.text)
        self.assertIn("comparison", page.sections)
        self.assertEqual(chinese["cases"], data["cases"])
        self.assertTrue(any("速度相同" in sentence for sentence in chinese["conclusion"]))

    def test_a_killed_case_is_a_line_of_the_log(self):
        process = subprocess.Popen([SLUICE, "report", "-m", TINY, "-o", self.out, *QUICK, "-n", "20000"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.kill(wait_for_child(process, "bench"), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        data, page = self.read()
        (failure,) = data["cases"][0]["failures"]
        self.assertEqual((failure["stage"], failure["cause"], failure["signal"]), ("bench", "killed", 9))
        self.assertGreater(data["cases"][0]["answer"]["generation_tokens_per_s"], 0)
        self.assertIn("SIGKILL", page.text)

    def test_ctrl_c_leaves_the_report_of_what_is_there(self):
        process = subprocess.Popen([SLUICE, "report", "-m", TINY, "-m", TINY, "-o", self.out, *QUICK, "-n", "20000"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child = wait_for_child(process, "bench")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"stopped; what was measured until then is in", err)
        self.assertFalse(pathlib.Path(f"/proc/{child}").exists(), "nothing is left behind")
        data, page = self.read()
        self.assertFalse(data["complete"])
        self.assertEqual(data["cases"][0]["failures"][0]["cause"], "interrupted")
        self.assertEqual(len(data["cases"]), 1)
        self.assertIn("1 of 2 cases began", page.text)

    def test_out_of_memory_in_a_control_group(self):
        """The program is told that it may use more than its group has."""
        study = self.folder / "study.json"
        study.write_text(json.dumps({"models": [TINY], "settings": [{"name": "too little", "memory": "12M", "ram": "400M",
                                                                     "n-gpu-layers": 0}]}))
        code, _, err = run("--study", study, "-o", self.out, *QUICK[:-2])
        if "--memory: this user may not" in err:
            self.assertEqual(code, 1)
            self.assertIn("run it as root", err)
            self.skipTest("no control groups here")
        self.assertEqual(code, 1)
        self.assertIn("no case ran; why is in the failure log", err)
        data, page = self.read()
        causes = {failure["cause"] for failure in data["cases"][0]["failures"]}
        self.assertEqual(causes, {"out of memory"}, data["cases"][0]["failures"])
        self.assertIn("more than the 0.01 GiB of its control group", page.text)

    def test_a_gpu_is_watched(self):
        library = os.environ.get("SLUICE_FAKE_NVML")
        if not library:
            self.skipTest("no SLUICE_FAKE_NVML")
        shutil.copy(library, self.folder / "libnvidia-ml.so.1")
        # Long enough to be looked at after loading.
        code, _, err = run("-m", TINY, "-o", self.out, *QUICK, "-n", "2000", "-r", "2",
                           env={"LD_LIBRARY_PATH": str(self.folder)})
        self.assertEqual(code, 0, err)
        data, page = self.read()
        self.assertEqual(data["machine"]["gpus"][0], {"name": "Fake 3060", "vram_bytes": 6144 << 20})
        peaks = data["cases"][0]["peaks"]
        self.assertEqual((peaks["vram_bytes"], peaks["gpu_load_percent"], peaks["gpu_temperature_c"]),
                         (3796 << 20, 73, 61))
        header = next(row for row in page.rows if "VRAM peak" in row)
        row = next(row for row in page.rows if row[1:2] == ["ok"])
        self.assertEqual(row[header.index("VRAM peak")], "3.71 GiB")
        self.assertEqual(row[header.index("GPU load")], "73 %")
        # The one that -mg names.
        code, _, err = run("-m", TINY, "-o", self.folder / "second", *QUICK, "-mg", "1",
                           env={"LD_LIBRARY_PATH": str(self.folder)})
        self.assertEqual(code, 0, err)
        data, page = self.read(self.folder / "second")
        self.assertEqual(data["cases"][0]["peaks"]["vram_bytes"], 4096 << 20)
        row = next(row for row in page.rows if row[1:2] == ["ok"])
        self.assertEqual(row[header.index("VRAM peak")], "4.00 GiB")

    def test_errors_are_one_line_before_anything_is_measured(self):
        (self.folder / "file").write_text("x")
        (self.folder / "bad.json").write_text('{"settings": [{"rma": "8G"}]}')
        (self.folder / "old.json").write_text('{"format": "sluice-report", "version": 99}')
        cases = ((2, ["no model"], []),
                 (2, ["--lang", "must be en or zh"], ["-m", TINY, "--lang", "de"]),
                 (2, ["bad.json: settings[0].rma: is unknown"], ["--study", self.folder / "bad.json"]),
                 (1, ["nothing.json", "no such file"], ["--study", self.folder / "nothing.json"]),
                 (1, ["old.json: version: this program reads version 1"],
                  ["-m", TINY, "--compare", self.folder / "old.json"]),
                 (1, ["file", "is no report.json"], ["--from", self.folder / "file"]),
                 (2, ["--from", "give no models"], ["--from", self.folder / "file", "-m", TINY]),
                 (2, ["--memory", "must be a size"], ["-m", TINY, "--memory", "lots"]),
                 (2, ["--ram", "an entry of the list is empty"], ["-m", TINY, "--ram", "8G,"]),
                 (1, ["cannot write"], ["-m", TINY, "-o", self.folder / "file/below"]))
        for code, parts, arguments in cases:
            with self.subTest(arguments=arguments):
                got, _, err = run(*arguments)
                self.assertEqual(got, code, err)
                self.assertEqual(len(err.strip().splitlines()), 1, err)
                for part in parts:
                    self.assertIn(part, err)


if __name__ == "__main__":
    unittest.main()
