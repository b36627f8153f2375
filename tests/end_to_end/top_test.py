#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`sluice top` against `sluice serve`: one picture for a pipe, and the view in a terminal of its own."""
import codecs
import fcntl
import http.server
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
import unittest

from server_test import SLUICE, Server, user

KEY = "a-key-for-top"


def top(*arguments, env=None, timeout=30):
    environment = {**os.environ, "SLUICE_API_KEY": "", "LLAMA_API_KEY": "", **(env or {})}
    done = subprocess.run([SLUICE, "top", *arguments], capture_output=True, text=True, timeout=timeout, env=environment, check=False)
    return done.returncode, done.stdout, done.stderr


class Terminal:
    """The program in a pseudo terminal; `text` is all that it wrote."""

    def __init__(self, *arguments, columns=100, rows=30):
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.environ.pop("NO_COLOR", None)
            os.execv(SLUICE, [SLUICE, "top", *arguments])
        self.resize(columns, rows)
        self.text = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def resize(self, columns, rows):
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.file], [], [], left)[0]:
                break
            try:
                data = os.read(self.file, 65536)
            except OSError:
                break
            if not data:
                break
            self.text += self.decoder.decode(data)
        return self.text

    def wait_for(self, pattern, seconds=15):
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            if time.monotonic() > end:
                raise AssertionError(f"{pattern!r} does not come: {self.text[-2000:]!r}")
            self.read(0.1)

    def frames(self):
        """Each as its lines without escape sequences."""
        frames = self.text.split("\x1b[?2026h\x1b[H")[1:]
        return [re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", frame).replace("\r", "").split("\n") for frame in frames]

    def end(self):
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.read(0.2)
                os.close(self.file)
                return os.waitstatus_to_exitcode(status)
            self.read(0.05)
            time.sleep(0.02)  # a closed terminal has nothing to wait for
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError("it does not end")


class Top(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--api-key", KEY)
        cls.url = f"http://127.0.0.1:{cls.server.port}"

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.server.errors.close()

    def ask(self):
        status, answer = self.server.post("/v1/chat/completions", user("What is 347 + 285?"),
                                          headers={"Authorization": f"Bearer {KEY}"})
        self.assertEqual(status, 200, answer)

    def test_once(self):
        self.ask()
        code, out, err = top(self.url, "--once", "--api-key", KEY)
        self.assertEqual((code, err), (0, ""))
        lines = out.splitlines()
        self.assertRegex(lines[0], r"^sluice  sluice-tiny\.gguf  \S")
        self.assertRegex(lines[1], r"^Speed +[\d.]+ tok/s  Disk +[\d.]+ [KMG]iB/s")
        self.assertRegex(out, r"\nRAM   [#-]{24} +[\d.]+ [KMG]iB of +[\d.]+ [KMG]iB")
        self.assertRegex(out, r"\nToken [ar.]{24} +[\d.]+ ms: attention [\d.]+ CPU experts [\d.]+ waiting [\d.]+\n")
        found = re.search(r"\nExperts 6 x 16, 4 used  r RAM (\d+)  \. SSD (\d+)  \* used just now\n", out)
        self.assertTrue(found, out)
        self.assertEqual(int(found[1]) + int(found[2]), 96)
        map_lines = lines[-6:]
        for line in map_lines:
            self.assertRegex(line, r"^[r.*]{16}$")
        self.assertEqual("".join(map_lines).count("."), int(found[2]))
        self.assertTrue(out.isascii(), out)
        self.assertNotIn("VRAM", out)

    def test_keys(self):
        code, _, err = top(self.url, "--once")
        self.assertEqual(code, 2)
        self.assertIn("wants a key: --api-key-file, or SLUICE_API_KEY", err)
        code, _, err = top(self.url, "--once", "--api-key", "another")
        self.assertEqual(code, 2)
        self.assertIn("does not know that key", err)
        self.assertNotIn("another", err)
        for name in ("SLUICE_API_KEY", "LLAMA_API_KEY"):
            self.assertEqual(top(self.url + "/", "--once", env={name: KEY})[0], 0)
        code, _, err = top(self.url, "--once", "--api-key", "a\nb")
        self.assertEqual(code, 2, err)
        self.assertIn("control character", err)

    def test_wrong_places(self):
        code, _, err = top("http://127.0.0.1:9", "--once")
        self.assertEqual(code, 1)
        self.assertIn("http://127.0.0.1:9: nobody listens there: start `sluice serve`", err)
        for url in ("ftp://127.0.0.1", "http://", "file:///etc/passwd"):
            code, out, err = top(url, "--once")
            self.assertEqual((code, out), (2, ""), err)
            self.assertIn("no address of a server", err)
        self.assertIn("one URL", top("a", "b")[2])
        code, _, err = top(self.url, "--api-key", KEY)
        self.assertEqual(code, 2)
        self.assertIn("needs a terminal; --once prints one picture", err)

    def test_other_servers(self):
        """None of them harms it, or keeps it waiting for ever."""
        answers = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = answers.get(self.path, (404, b""))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{other.server_port}"
        machine = b'{"model":"m\\u001b[2J","layers":2,"experts":4,"used":1}'
        try:
            for description, stream, message in (
                    (None, None, "does not tell what its machine does"),
                    ((500, b""), None, "answers with status 500"),
                    ((200, b"<html>"), None, "/machine: not what `sluice serve` says"),
                    ((200, b"x" * (2 << 20)), None, url),
                    ((200, b'{"layers":1e6,"experts":1e6}'), None, "/machine: layers, experts"),
                    ((200, machine), (200, b"data: {}\n\n"), "has ended the stream"),
                    ((200, machine), (200, b"data: {}\n\ndata: {\"lit\":[99]}\n\n"), "/machine/stream: lit"),
                    ((200, machine), (429, b"{}"), "answers with status 429")):
                answers.clear()
                if description:
                    answers["/machine"] = description
                if stream:
                    answers["/machine/stream"] = stream
                code, out, err = top(url, "--once")
                self.assertEqual((code, out), (1, ""), err)
                self.assertIn(message, err)
            answers["/machine/stream"] = (200, b'data: {"tiers":"01010101"}\n\n: ping\n\ndata: {"lit":[2]}\n\n')
            code, out, err = top(url, "--once")
            self.assertEqual(code, 0, err)
            self.assertTrue(out.startswith("sluice  m[2J  \n"), out)
            self.assertTrue(out.endswith("\n.r*r\n.r.r\n"), out)
        finally:
            other.shutdown()
            other.server_close()
            thread.join()

    def test_terminal(self):
        terminal = Terminal(self.url, "--api-key", KEY)
        terminal.wait_for("Experts 6 x 16")
        rate = r"\x1b\[1m *[1-9][\d.]* tok/s"
        for _ in range(20):  # the first may be over before the first event
            self.ask()
            if re.search(rate, terminal.read(0.5)):
                break
        terminal.wait_for(rate, 0)
        terminal.wait_for(r"38;5;231;48|48;5;231m")  # an expert that was used
        frame = terminal.frames()[-2]
        self.assertLessEqual(len(frame), 30)
        self.assertEqual(sum("\u2580" in line for line in frame), 3, "two layers share a line")
        self.assertIn("q quits", frame[-1])
        terminal.resize(40, 8)
        terminal.text = ""
        terminal.read(1.2)
        small = terminal.frames()[-2]
        self.assertLessEqual(len(small), 8)
        self.assertTrue(all(len(line) <= 40 for line in small), small)
        os.write(terminal.file, b"q")
        self.assertEqual(terminal.end(), 0)
        self.assertTrue(terminal.text.endswith("\x1b[?25h\x1b[?1049l"), "the terminal is as it was")

    def test_signals_give_the_terminal_back(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            terminal = Terminal(self.url, "--api-key", KEY)
            terminal.wait_for("Experts 6 x 16")
            os.kill(terminal.pid, number)
            self.assertEqual(terminal.end(), 0)
            self.assertTrue(terminal.text.endswith("\x1b[?25h\x1b[?1049l"))

    def test_a_server_that_comes_back(self):
        server = Server()
        terminal = Terminal(f"http://127.0.0.1:{server.port}")
        try:
            terminal.wait_for("Experts 6 x 16")
            server.stop()
            terminal.wait_for("the server is away; q quits")
            again = Server("--port", str(server.port))
            try:
                terminal.text = ""
                terminal.wait_for(r"Experts 6 x 16(?s:.)*\n\x1b\[Kq quits")
            finally:
                again.stop()
                again.errors.close()
        finally:
            os.write(terminal.file, b"q")
            self.assertEqual(terminal.end(), 0)
            server.errors.close()


if __name__ == "__main__":
    unittest.main()
