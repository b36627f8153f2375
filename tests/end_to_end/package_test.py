#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian package: built, installed in a root of its own and run from there; the manual page and the completion of shells.
SLUICE is the binary, SLUICE_BUILD the build folder, SLUICE_ROOT the checkout."""
import gzip
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

SLUICE = os.environ["SLUICE"]
BUILD = os.environ["SLUICE_BUILD"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
MODEL = str(ROOT / "models/sluice-tiny.gguf")


def output(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


@unittest.skipUnless(shutil.which("dpkg-deb"), "no dpkg")
class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        subprocess.run(["cpack", "-G", "DEB", "-B", cls.folder, "-D", "CPACK_THREADS=2", "--config",
                        pathlib.Path(BUILD) / "CPackConfig.cmake"], check=True, capture_output=True, cwd=BUILD)
        cls.package = next(cls.folder.glob("*.deb"))
        cls.root = cls.folder / "root"
        (cls.root / "var/lib/dpkg/updates").mkdir(parents=True)
        (cls.root / "var/lib/dpkg/info").mkdir()
        (cls.root / "var/lib/dpkg/status").touch()
        cls.installed = os.geteuid() == 0
        if cls.installed:  # as a system does it, but for what it depends on, which this root lacks
            subprocess.run(["dpkg", f"--root={cls.root}", "--force-depends", "--force-script-chrootless", "--install",
                            cls.package], check=True,
                           capture_output=True)
        else:
            subprocess.run(["dpkg-deb", "-x", cls.package, cls.root], check=True)

    def test_name_and_dependencies(self):
        self.assertRegex(self.package.name, r"^sluice_[\d.]+_(amd64|arm64)\.deb$")
        depends = output("dpkg-deb", "-f", self.package, "Depends")
        for library in ("libc6 (>= ", "libcurl4", "libstdc++6", "libhwloc15", "ca-certificates"):
            self.assertIn(library, depends)
        self.assertNotIn("-dev", depends)

    def test_runs_from_its_root(self):
        libraries = next(self.root.rglob("libsluice.so")).parent
        env = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
        program = self.root / "usr/bin/sluice"
        self.assertIn("632", output(program, "run", "-m", MODEL, "-p", "What is 347 + 285?", "--temp", "0", env=env))
        self.assertEqual(output(program, "version"), output(SLUICE, "version"))

    def test_nothing_of_the_build_is_in_it(self):
        for path in self.root.rglob("*"):
            if path.is_file() and path.suffix in (".pc", ".cmake", ".1", "") and path.name != "sluice":
                self.assertNotIn(str(ROOT), path.read_bytes().decode(errors="replace"), path)
        self.assertIn("prefix=/usr\n", next(self.root.rglob("sluice.pc")).read_text())

    def test_files_belong_to_root_and_have_sensible_modes(self):
        for line in output("dpkg-deb", "-c", self.package).splitlines():
            mode, owner, *_ = line.split()
            self.assertEqual(owner, "root/root", line)
            self.assertIn(mode, ("drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--", "lrwxrwxrwx"), line)

    def test_removes_cleanly(self):
        if not self.installed:
            self.skipTest("needs root")
        self.assertIn("install ok installed", output("dpkg-query", f"--admindir={self.root}/var/lib/dpkg", "-s", "sluice"))
        copy = self.folder / "copy"
        shutil.copytree(self.root, copy, symlinks=True)
        subprocess.run(["dpkg", f"--root={copy}", "--force-script-chrootless", "--purge", "sluice"], check=True, capture_output=True)
        self.assertFalse((copy / "usr/bin/sluice").exists())

    def test_manual_page(self):
        page = next(self.root.rglob("sluice.1*"))
        text = (gzip.open(page, "rt") if page.suffix == ".gz" else open(page, encoding="utf-8")).read()
        self.assertEqual(text, output(SLUICE, "completion", "man"))


class Completion(unittest.TestCase):
    def commands(self):
        return re.findall(r"^  (\w+) ", output(SLUICE, "help"), re.M)

    def test_manual_page_has_every_command_and_flag(self):
        page = output(SLUICE, "completion", "man")
        for command in self.commands():
            self.assertIn(f".B {command}\n", page)
            if command != "eval":
                for flag in re.findall(r"^  .*?(--[\w-]+)", output(SLUICE, command, "--help"), re.M):
                    self.assertIn(flag.replace("-", r"\-"), page, command)
        self.assertFalse([line for line in page.splitlines() if line.startswith(".") and
                          line.split()[0] not in (".TH", ".SH", ".TP", ".B", ".I", ".RI")])
        if shutil.which("groff"):
            done = subprocess.run(["groff", "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True, check=True)
            self.assertEqual(done.stderr, "")

    def complete_in_bash(self, *words):
        script = output(SLUICE, "completion", "bash") + f"""
COMP_WORDS=({' '.join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}; _sluice; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        return output("bash", "-c", script, cwd=ROOT / "models").split()

    def test_bash(self):
        self.assertEqual(set(self.complete_in_bash("sluice", "")) - {"help", "version"}, set(self.commands()))
        self.assertEqual(self.complete_in_bash("sluice", "pu"), ["pull"])
        self.assertEqual(self.complete_in_bash("sluice", "run", "--gpu"), ["--gpu-layers"])
        self.assertIn("-hf", self.complete_in_bash("sluice", "bench", "-h"))
        self.assertEqual(self.complete_in_bash("sluice", "run", "-m", "sluice-t"), ["sluice-tiny.gguf"])
        self.assertEqual(self.complete_in_bash("sluice", "run", "-c", ""), [])
        self.assertEqual(self.complete_in_bash("sluice", "eval", "l"), ["logits"])
        self.assertEqual(self.complete_in_bash("sluice", "eval", "logits", "--tok"), ["--tokens-file"])

    def test_zsh_and_fish_can_read_theirs(self):
        for shell in ("zsh", "fish"):
            script = output(SLUICE, "completion", shell)
            for command in self.commands():
                self.assertIn(command, script)
            self.assertIn("ctx-size", script)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=script, text=True, check=True)

    def test_other_shells(self):
        for arguments in ((), ("tcsh",), ("bash", "zsh")):
            done = subprocess.run([SLUICE, "completion", *arguments], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("bash, zsh, fish and man", done.stderr)


if __name__ == "__main__":
    unittest.main()
