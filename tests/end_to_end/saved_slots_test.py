#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The prompt cache on disk: saved, the program ended, restored in another one."""
import concurrent.futures
import os
import pathlib
import tempfile
import unittest

from server_test import HYBRID, TINY, Server, user

TEXT = "Notes:" + "".join(f" item {k} is on shelf {k * 37 % 91}," for k in range(60))
QUESTION = TEXT + " What is 12 + 30?"


class SavedSlots(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def start(self, *arguments, **options):
        server = Server("-np", "2", "--slot-save-path", str(self.folder), *arguments, **options)
        self.addCleanup(server.errors.close)
        self.addCleanup(lambda: server.process.poll() is None and server.stop())
        return server

    @staticmethod
    def act(server, slot, action, name=None, **options):
        return server.post(f"/slots/{slot}?action={action}", {"filename": name} if name else b"", **options)

    @staticmethod
    def ask(server, text, **options):
        status, answer = server.post("/v1/chat/completions", user(text, max_tokens=16), **options)
        assert status == 200, answer
        return answer

    def used_slot(self, server, **options):
        held = [slot["n_past"] for slot in server.get("/slots", **options)[1]]
        return held.index(max(held))

    def save_in_one_program(self, model, *arguments):
        server = self.start(*arguments, model=model)
        answer = self.ask(server, QUESTION)
        self.assertEqual(answer["timings"]["cache_n"], 0)
        slot = self.used_slot(server)
        status, saved = self.act(server, slot, "save", "notes.bin")
        self.assertEqual(status, 200, saved)
        self.assertEqual((saved["id_slot"], saved["filename"]), (slot, "notes.bin"))
        self.assertGreaterEqual(saved["n_saved"], answer["usage"]["prompt_tokens"])
        file = self.folder / "notes.bin"
        self.assertEqual(saved["n_written"], file.stat().st_size)
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(self.folder), ["notes.bin"])
        self.assertGreater(saved["timings"]["save_ms"], 0)
        self.assertEqual(server.stop(), 0)
        return answer, saved

    def test_another_program_goes_on(self):
        for model in (TINY, HYBRID):
            with self.subTest(model):
                first, saved = self.save_in_one_program(model)
                server = self.start(model=model)
                status, restored = self.act(server, 1, "restore", "notes.bin")
                self.assertEqual(status, 200, restored)
                self.assertEqual((restored["id_slot"], restored["n_restored"], restored["n_read"]),
                                 (1, saved["n_saved"], saved["n_written"]))
                again = self.ask(server, QUESTION)
                self.assertEqual(again["choices"][0]["message"], first["choices"][0]["message"])
                prompt = first["usage"]["prompt_tokens"]
                self.assertGreaterEqual(again["timings"]["cache_n"], prompt - 1)
                self.assertLessEqual(again["timings"]["prompt_n"], 1)
                cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
                self.assertGreaterEqual(cached, prompt - 1)
                # Another question behind the same notes reads its own tokens, and little before them.
                status, _ = self.act(server, 0, "restore", "notes.bin")
                self.assertEqual(status, 200)
                other = self.ask(server, TEXT + " Who are you?")
                self.assertGreater(other["timings"]["cache_n"], 0 if model == HYBRID else prompt * 3 // 4)
                status, erased = self.act(server, 0, "erase")
                self.assertEqual(status, 200, erased)
                self.assertEqual(server.get("/slots")[1][0]["n_past"], 0)
                self.assertEqual(server.stop(), 0)

    def test_refused(self):
        self.save_in_one_program(TINY)
        right = (self.folder / "notes.bin").read_bytes()
        (self.folder / "cut.bin").write_bytes(right[:-7])
        (self.folder / "changed.bin").write_bytes(right[:5000] + bytes([right[5000] ^ 1]) + right[5001:])
        (self.folder / "empty.bin").write_bytes(b"")
        (self.folder / "zeros.bin").write_bytes(bytes(1 << 16))
        (self.folder / "folder").mkdir()
        os.mkfifo(self.folder / "pipe")
        server = self.start()
        for name, status, words in (
                ("cut.bin", 400, "cut or changed"), ("changed.bin", 400, "cut or changed"),
                ("empty.bin", 400, "no saved slot"), ("zeros.bin", 400, "no saved slot"),
                ("folder", 400, "no saved slot"), ("pipe", 400, "no saved slot"), ("none.bin", 404, "save one first"),
                ("../notes.bin", 400, "must be the name of a file"), (".notes", 400, "must be the name of a file"),
                ("/etc/passwd", 400, "must be the name of a file")):
            with self.subTest(name):
                found, answer = self.act(server, 0, "restore", name)
                self.assertEqual((found, answer["error"]["param"]), (status, "filename"), answer)
                self.assertIn(words, answer["error"]["message"])
                if "must be" not in words:
                    self.assertTrue(answer["error"]["message"].startswith(name + ": "), answer)
        for name in ("zeros.bin", "folder", "pipe"):  # a file of somebody's is not replaced
            self.assertEqual(self.act(server, 0, "save", name)[0], 400)
        self.assertEqual((self.folder / "zeros.bin").read_bytes(), bytes(1 << 16))
        self.assertEqual(self.ask(server, "What is 12 + 30?")["choices"][0]["message"]["content"], "12 + 30 = 42")
        self.assertEqual(server.stop(), 0)
        for arguments, options, words in ((("-ctk", "q8_0"), {}, "cache types"), (("-c", "256"), {}, "-c "),
                                          ((), {"model": HYBRID}, "another model")):
            with self.subTest(arguments):
                server = self.start(*arguments, **options)
                status, answer = self.act(server, 0, "restore", "notes.bin")
                self.assertEqual(status, 400, answer)
                self.assertTrue(answer["error"]["message"].startswith("notes.bin: "), answer)
                self.assertIn(words, answer["error"]["message"])
                self.assertEqual(server.stop(), 0)

    def test_keys(self):
        keys = self.folder / "keys"
        keys.write_text("key-of-ann\nkey-of-bob\n")
        server = self.start("--api-key-file", str(keys))
        ann = {"headers": {"Authorization": "Bearer key-of-ann"}}
        bob = {"headers": {"Authorization": "Bearer key-of-bob"}}
        self.ask(server, QUESTION, **ann)
        slot = self.used_slot(server, **ann)
        self.assertEqual(self.act(server, slot, "save", "a.bin")[0], 401)
        self.assertEqual(self.act(server, slot, "save", "b.bin", **bob)[0], 404)
        self.assertEqual(self.act(server, slot, "erase", **bob)[0], 404)
        self.assertEqual(self.act(server, slot, "save", "a.bin", **ann)[0], 200)
        for number in (0, 1):
            self.assertEqual(self.act(server, number, "restore", "a.bin", **bob)[0], 404)
        self.assertEqual(self.act(server, slot, "restore", "a.bin", **ann)[0], 200)
        self.assertNotIn(b"key-of", (self.folder / "a.bin").read_bytes())
        self.assertEqual(server.stop(), 0)

    def test_at_the_same_time_as_requests(self):
        server = self.start()
        right = self.ask(server, QUESTION)["choices"][0]["message"]

        def work(n):
            if n % 3 == 0:
                return self.ask(server, QUESTION)["choices"][0]["message"] == right
            return self.act(server, n % 2, "save" if n % 3 == 1 else "restore", "notes.bin")[0] in (200, 404, 409)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertTrue(all(pool.map(work, range(60))))
        # Slots that answered all the time were not saved.
        self.assertEqual(self.act(server, self.used_slot(server), "save", "notes.bin")[0], 200)
        self.assertEqual(os.listdir(self.folder), ["notes.bin"])
        self.assertEqual(server.stop(), 0)

    def test_without_the_flag(self):
        server = Server("-np", "1")
        self.addCleanup(server.errors.close)
        status, answer = self.act(server, 0, "save", "a.bin")
        self.assertEqual(status, 501)
        self.assertIn("--slot-save-path", answer["error"]["message"])
        self.assertEqual(server.stop(), 0)

    def test_a_folder_that_is_not_there(self):
        with self.assertRaisesRegex(AssertionError, "--slot-save-path.*make it first"):
            Server("--slot-save-path", str(self.folder / "none"))


if __name__ == "__main__":
    unittest.main()
