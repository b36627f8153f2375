#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sluice pull against servers that lie, stop, redirect and break: every error is one line that says what, where and
what to do, no wrong file gets a model's name, and no token goes to a host that it does not belong to."""
import gzip
import json
import resource
import socket
import subprocess
import threading
import unittest

from lying_hub import COMMIT
from pull_test import MEGABYTE, TINY, Case, content, sha256

PAGE = b"<!DOCTYPE html><html><body>Please log in to the hotel's network</body></html>"
NAME = "m-Q4_K_M.gguf"


class LyingCase(Case):
    def setUp(self):
        super().setUp()
        self.data = content(2 * MEGABYTE)
        self.hub.add("o/m", {NAME: self.data})
        self.blob = "/blob/" + sha256(self.data)
        self.times = 0
        self.lock = threading.Lock()

    def tell(self, lie, server=None, path=None, times=None):
        """From now on `lie(handler)` answers requests of the blob, `times` of them."""
        def answer(handler, asked):
            if asked.split("?")[0] != (path or self.blob):
                return False
            with self.lock:
                if times is not None and self.times >= times:
                    return False
                self.times += 1
            if lie(handler) is not False:
                return True
            with self.lock:
                self.times -= 1
            return False
        (server or self.store).lie = answer

    def begin_piece(self, handler):
        """The head of a right answer, and the bytes that should follow; None where the file's beginning is asked for."""
        first, last = handler.range(len(self.data))
        if last == 3:
            return None
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(self.data)}")
        handler.send_header("Content-Length", str(last - first + 1))
        handler.send_header("ETag", handler.server.etag)
        handler.end_headers()
        return self.data[first:last + 1]

    def assert_pulled(self, *arguments):
        path, err = self.pull(*(arguments or ("o/m",)))
        self.assertEqual(path.read_bytes(), self.data)
        return err


class Files(LyingCase):
    def test_a_web_page_instead_of_the_file(self):
        self.tell(lambda h: h.answer(200, PAGE, {"Content-Type": "text/html"}))
        self.assert_refused(self.hub.address(), "is a web page, not a model", arguments=["pull", "o/m"])

    def test_a_git_lfs_pointer(self):
        self.store.files["/m.gguf"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
        self.assert_refused("Git LFS pointer", "/resolve/", arguments=["pull", self.store.address() + "/m.gguf"])

    def test_something_else_under_a_model_s_name(self):
        self.store.files["/m.gguf"] = b"PK\3\4 an archive"
        self.assert_refused("does not begin as GGUF files do", arguments=["pull", self.store.address() + "/m.gguf"])

    def test_empty(self):
        self.store.files["/m.gguf"] = b""
        self.assert_refused("is empty", arguments=["pull", self.store.address() + "/m.gguf"])

    def test_the_wrong_hash(self):
        wrong = self.data[:-1] + bytes([self.data[-1] ^ 1])
        self.store.files[self.blob] = wrong
        self.assert_refused(sha256(wrong), sha256(self.data), "deleted", "HF_ENDPOINT", arguments=["pull", "o/m"])
        self.assertEqual(list((self.repo_folder("o/m") / "blobs").iterdir()), [])

    def test_the_wrong_hash_for_an_address(self):
        self.store.files["/m.gguf"] = self.data
        self.assert_refused("should have " + "a" * 64,
                            arguments=["pull", self.store.address() + "/m.gguf", "--sha256", "a" * 64])

    def test_the_wrong_length(self):
        self.store.files[self.blob] = self.data + b"more"
        self.assert_refused(f"has {len(self.data) + 4} bytes where the hub lists {len(self.data)}",
                            arguments=["pull", "o/m"])

    def test_another_hash_than_listed(self):
        path = f"/o/m/resolve/{COMMIT}/{NAME}"
        self.hub.files[path] = self.hub.redirect(self.store.address() + self.blob, {"X-Linked-Etag": f'"{"b" * 64}"'})
        self.assert_refused("is another file", "b" * 64, arguments=["pull", "o/m"])

    def test_less_than_promised(self):
        def lie(handler):
            first, last = handler.range(len(self.data))
            if last == 3:
                return False
            handler.answer(206, self.data[first:first + 2], {
                "Content-Range": f"bytes {first}-{first + 1}/{len(self.data)}", "ETag": handler.server.etag})
            return True
        self.tell(lie, times=3)
        self.assert_pulled()

    def test_more_than_asked_for(self):
        def lie(handler):
            first, last = handler.range(len(self.data))
            if first == 0 and last == 3:
                return False
            handler.answer(206, self.data[first:last + 1] + b"and more", {
                "Content-Range": f"bytes {first}-{last}/{len(self.data)}", "ETag": handler.server.etag})
            return True
        self.tell(lie)
        self.assert_refused("more than was asked for", arguments=["pull", "o/m", "--connections", "1"])

    def test_other_bytes_than_asked_for(self):
        def lie(handler):
            first, last = handler.range(len(self.data))
            if last == 3:
                return False
            handler.answer(206, self.data[:last - first + 1], {
                "Content-Range": f"bytes 0-{last - first}/{len(self.data)}", "ETag": handler.server.etag})
            return True
        self.store.slow = 0.001
        self.tell(lie)
        self.assert_refused("other bytes than asked for", arguments=["pull", "o/m", "--connections", "2"])

    def test_compressed_although_nobody_asked(self):
        self.tell(lambda h: h.answer(200, gzip.compress(self.data), {"Content-Encoding": "gzip"}))
        self.assert_refused("compressed (gzip)", arguments=["pull", "o/m"])
        self.assertTrue(all(headers["Accept-Encoding"] == "identity" for _, headers in self.store.requests))

    def test_ranges_ignored_from_the_start(self):
        self.tell(lambda h: h.answer(200, self.data))
        self.assert_pulled()

    def test_ranges_ignored_later(self):
        self.tell(lambda h: h.headers.get("Range") != "bytes=0-3" and (h.answer(200, self.data) or True))
        self.assert_pulled()

    def test_no_length_at_all(self):
        def lie(handler):
            handler.answer(200, self.data, length=-1)
            handler.close_connection = True
        self.tell(lie)
        self.assert_pulled()
        self.store.files["/m.gguf"] = lie
        path, _ = self.pull(self.store.address() + "/m.gguf")
        self.assertEqual(path.read_bytes(), self.data)

    def test_a_file_that_changes_once_is_fetched_again(self):
        self.store.files["/m.gguf"] = self.data
        newer = content(2 * MEGABYTE, 9)

        def change(handler):
            if handler.headers["Range"] == "bytes=0-3":
                return False
            self.store.files["/m.gguf"] = newer
            self.store.etag = '"version-2"'
            return False
        self.tell(change, path="/m.gguf")
        path, _ = self.pull(self.store.address() + "/m.gguf")
        self.assertEqual(path.read_bytes(), newer)

    def test_a_file_that_never_stays_the_same(self):
        self.store.files["/m.gguf"] = self.data

        def change(handler):
            self.times += 1
            self.store.etag = f'"version-{self.times}"'
            return False
        self.tell(change, path="/m.gguf")
        self.assert_refused("changes while it is being downloaded", arguments=["pull", self.store.address() + "/m.gguf"])


class Connections(LyingCase):
    def test_resets_in_the_middle_are_gone_on_from(self):
        def lie(handler):
            piece = self.begin_piece(handler)
            if piece is None:
                return False
            handler.wfile.write(piece[:len(piece) // 2])
            handler.wfile.flush()
            handler.reset()
            return True
        self.tell(lie, times=12)
        self.assert_pulled()
        self.assertEqual(self.times, 12)

    def test_a_server_that_always_resets(self):
        self.tell(lambda h: h.reset())
        self.assert_refused("the connection ended early", "try again", arguments=["pull", "o/m"])

    def test_a_stall_is_given_up(self):
        def lie(handler):
            if self.begin_piece(handler) is None:
                return False
            self.stop.wait(60)
            return True
        self.stop = threading.Event()
        self.addCleanup(self.stop.set)
        self.tell(lie, times=2)
        self.assert_pulled()
        self.times = -1000
        self.run_sluice("rm", "o/m")
        self.assert_refused("nothing came for 1 s", "HF_HUB_DOWNLOAD_TIMEOUT", arguments=["pull", "o/m"])

    def test_trouble_that_passes(self):
        for status in (500, 502, 503, 429):
            self.times = 0
            self.tell(lambda h, s=status: h.answer(s, b"busy", {"Retry-After": "0"}), times=3)
            self.assert_pulled()
            self.run_sluice("rm", "o/m")

    def test_trouble_that_stays(self):
        self.tell(lambda h: h.answer(503, b"busy"))
        self.assert_refused("status 503", "try again later", arguments=["pull", "o/m"])
        self.tell(lambda h: h.answer(429, b"busy"))
        self.assert_refused("too many requests", arguments=["pull", "o/m"])

    def test_an_address_behind_the_redirect_that_was_good_for_a_while_only(self):
        self.tell(lambda h: h.headers["Range"] != "bytes=0-3" and (h.answer(403, b"expired") or True), times=1)
        self.assert_pulled()

    def test_nobody_listens(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.assert_refused(address, "cannot connect", "HF_ENDPOINT", arguments=["pull", "o/m"], env={"HF_ENDPOINT": address})

    def test_no_such_host(self):
        self.assert_refused("no host sluice.invalid", "HF_ENDPOINT", arguments=["pull", "o/m"],
                            env={"HF_ENDPOINT": "https://sluice.invalid"})

    def test_something_that_speaks_no_http(self):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def answer():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"SSH-2.0-OpenSSH\r\n\0\0\0")
        threading.Thread(target=answer, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        self.assert_refused(address, arguments=["pull", address + "/m.gguf"])

    def test_endless_headers(self):
        def lie(handler):
            handler.send_response(200)
            for number in range(5000):
                handler.send_header(f"X-{number}", "x" * 200)
            handler.end_headers()
        self.tell(lie)
        self.assert_refused("headers are longer", arguments=["pull", "o/m"])

    def test_run_takes_what_is_here_when_the_hub_is_silent(self):
        self.hub.add("o/t", {"t-Q8_0.gguf": TINY.read_bytes(), "t-Q2_K.gguf": content(10)})
        self.pull("o/t:Q8_0")
        flags = ("-p", "Hello", "-n", "2", "-no-cnv")
        code, _, err = self.run_sluice("run", "-hf", "o/t", *flags, env={"HF_ENDPOINT": "http://127.0.0.1:9"})
        self.assertEqual(code, 0, err)
        self.assertIn("taking o/t:Q8_0, which is here", err)
        self.assertEqual(self.run_sluice("run", "-hf", "o/t:Q2_K", "--offline", *flags)[0], 1)


class Answers(LyingCase):
    def test_no_such_repository_or_quantisation(self):
        self.assert_refused("/api/models/o/none/revision/main", "does not exist (404)", arguments=["pull", "o/none"])
        self.assert_refused("o/m has no Q5_K_M", "Q4_K_M (0.0 GiB)", "o/m:QUANTISATION", arguments=["pull", "o/m:Q5_K_M"])
        self.assert_refused("o/m has no file x.gguf", arguments=["pull", "o/m", "--hf-file", "x.gguf"])
        self.hub.add("o/empty", {"README.md": b"x"})
        self.assert_refused("has no GGUF files", arguments=["pull", "o/empty"])
        self.hub.add("o/two", {"a-Q2_K.gguf": self.data, "b-Q8_0.gguf": self.data})
        self.assert_refused("o/two has no Q4_K_M: choose one", "Q2_K", "Q8_0", arguments=["pull", "o/two"], code=2)
        self.hub.add("o/part", {"a-Q4_K_M-00001-of-00003.gguf": self.data, "a-Q4_K_M-00003-of-00003.gguf": self.data})
        self.assert_refused("lacks part 2 of 3", arguments=["pull", "o/part"])

    def test_a_gated_model(self):
        def gate(handler, path):
            if not path.startswith("/api/"):
                handler.answer(401 if "Authorization" not in handler.headers else 403, b"{}",
                               {"X-Error-Message": "Access to model o/m is restricted"})
                return True
            return False
        self.hub.lie = gate
        self.assert_refused("401", "restricted", "HF_TOKEN", arguments=["pull", "o/m"])
        self.assert_refused("access is refused (403)", "accept the model's terms", arguments=["pull", "o/m"],
                            env={"HF_TOKEN": "hf_secret"})

    def test_a_page_instead_of_a_list(self):
        self.hub.lie = lambda h, path: h.answer(200, PAGE, {"Content-Type": "text/html"}) or True
        self.assert_refused("a web page where the hub gives JSON", "HF_ENDPOINT", arguments=["pull", "o/m"])

    def test_lists_that_are_none(self):
        revision, tree = "/api/models/o/m/revision/main", f"/api/models/o/m/tree/{COMMIT}"
        good = {path: self.hub.files[path] for path in (revision, tree)}
        file = {"type": "file", "path": NAME, "size": 5, "oid": "f" * 40}
        for path, body in ((revision, b"[]"), (revision, b'{"sha":5}'), (revision, b'{"sha":"main"}'), (revision, b"[" * 1000000),
                           (tree, b"{}"), (tree, b"null"), (tree, json.dumps([{**file, "size": -1}]).encode()),
                           (tree, json.dumps([{**file, "size": "5"}]).encode()),
                           (tree, json.dumps([{**file, "size": 2 ** 63}]).encode()),
                           (tree, json.dumps([{**file, "oid": "../../../x"}]).encode()),
                           (tree, json.dumps([{**file, "lfs": {"oid": "/etc/passwd", "size": 5}}]).encode())):
            self.hub.files = {**self.hub.files, **good, path: body}
            self.assert_refused(arguments=["pull", "o/m"])

    def test_a_list_without_end(self):
        tree = f"/api/models/o/m/tree/{COMMIT}"
        self.hub.files[tree] = lambda h: h.answer(200, b"[]", {"Link": f'<{self.hub.address()}{tree}?cursor=1>; rel="next"'})
        self.assert_refused("is no list of files", arguments=["pull", "o/m"])
        self.hub.files[tree] = lambda h: h.answer(200, b"[" + b" " * (17 << 20) + b"]")
        self.assert_refused("more than 16 MiB", arguments=["pull", "o/m"])

    def test_names_that_would_leave_their_folder(self):
        tree = f"/api/models/o/m/tree/{COMMIT}"
        for name in ("../../../../evil-Q4_K_M.gguf", "/tmp/evil-Q4_K_M.gguf", "a/../../evil-Q4_K_M.gguf", "a//m-Q4_K_M.gguf",
                     "evil-Q4_K_M\0.gguf", "a\nb-Q4_K_M.gguf", "a\\b-Q4_K_M.gguf", "./m-Q4_K_M.gguf"):
            self.hub.files[tree] = json.dumps([{"type": "file", "path": name, "size": len(self.data),
                                                "lfs": {"oid": sha256(self.data), "size": len(self.data)}}]).encode()
            self.assert_refused("the hub lists a file", "not downloaded", arguments=["pull", "o/m"])
        self.assertEqual(list(self.folder.rglob("*evil*")), [])

    def test_names_on_the_command_line(self):
        for name in ("", "model", "o/../m", "../m", "o/m/x", "o/m:", "o/m:../x", "-o/m", "o/.m", "ftp://x/y.gguf", "http://",
                     "http://user:s3cret@127.0.0.1/m.gguf", "o/m\n"):
            code, out, err = self.run_sluice("pull", "--", name) if name == "-o/m" else self.run_sluice("pull", name)
            self.assertEqual((code, out, len(err.splitlines())), (2, "", 1), (name, err))
            self.assertNotIn("s3cret", err)
        self.assert_refused("is no revision", arguments=["pull", "o/m", "--revision", "../x"], code=2)
        self.assert_refused("64 hexadecimal digits", arguments=["pull", "http://h/m.gguf", "--sha256", "12"], code=2)
        self.assert_refused("whole number from 1 to 32", arguments=["pull", "o/m", "--connections", "0"], code=2)
        self.assert_refused("no model", arguments=["pull"], code=2)
        self.assert_refused("which model", arguments=["rm"], code=2)

    def test_the_environment(self):
        self.assert_refused("HF_ENDPOINT=mirror", arguments=["pull", "o/m"], code=2, env={"HF_ENDPOINT": "mirror"})
        self.assert_refused("HF_TOKEN", arguments=["pull", "o/m"], code=2, env={"HF_TOKEN": "schlüssel"})
        self.assert_refused("number of seconds", arguments=["pull", "o/m"], code=2, env={"HF_HUB_DOWNLOAD_TIMEOUT": "soon"})
        self.assert_refused("--offline", arguments=["pull", "o/m"], env={"HF_HUB_OFFLINE": "1"})
        self.assertEqual(self.hub.requests, [])


class Redirects(LyingCase):
    def seen_by(self, server):
        return [headers.get("Authorization") for _, headers in server.requests]

    def test_the_token_stays_with_its_host(self):
        self.pull("o/m", env={"HF_TOKEN": "hf_secret"})
        self.assertEqual(set(self.seen_by(self.hub)), {"Bearer hf_secret"})
        self.assertGreater(len(self.store.requests), 1)
        self.assertEqual(set(self.seen_by(self.store)), {None})

    def test_another_port_is_another_host(self):
        path = f"/o/m/resolve/{COMMIT}/{NAME}"
        self.hub.files[path] = self.hub.redirect(self.store.address() + self.blob)
        self.pull("o/m", env={"HF_TOKEN": "hf_secret"})
        self.assertEqual(set(self.seen_by(self.store)), {None})

    def test_addresses_elsewhere_get_no_token(self):
        self.store.files["/m.gguf"] = self.data
        self.pull(self.store.address() + "/m.gguf", env={"HF_TOKEN": "hf_secret"})
        self.assertEqual(set(self.seen_by(self.store)), {None})

    def test_the_token_from_its_file(self):
        (self.folder / "hf").mkdir()
        (self.folder / "hf/token").write_text("hf_filed\n")
        self.pull("o/m")
        self.assertEqual(set(self.seen_by(self.hub)), {"Bearer hf_filed"})

    def test_the_token_is_in_no_message_and_no_file(self):
        self.store.files[self.blob] = self.data[:-1] + b"!"
        code, out, err = self.run_sluice("pull", "o/m", env={"HF_TOKEN": "hf_secret"})
        self.assertEqual(code, 1)
        self.assertNotIn("hf_secret", out + err)
        self.assertNotIn("signature=secret", out + err)
        for path in self.folder.rglob("*"):
            if path.is_file():
                self.assertNotIn(b"hf_secret", path.read_bytes())

    def test_redirects_in_a_circle(self):
        path = f"/o/m/resolve/{COMMIT}/{NAME}"
        self.hub.files[path] = self.hub.redirect(path)
        self.assert_refused("redirects more than 10 times", arguments=["pull", "o/m"])

    def test_redirects_to_other_protocols_and_nowhere(self):
        path = f"/o/m/resolve/{COMMIT}/{NAME}"
        for location in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "javascript:1"):
            self.hub.files[path] = self.hub.redirect(location)
            self.assert_refused("not followed", arguments=["pull", "o/m"])
        self.hub.files[path] = lambda h: h.answer(302, b"")
        self.assert_refused("to nowhere", arguments=["pull", "o/m"])


class Disks(LyingCase):
    def test_the_size_limit_of_files(self):
        line = self.assert_refused("raise the limit (ulimit -f)", arguments=["pull", "o/m"], preexec_fn=lambda:
                                   resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, MEGABYTE)))
        self.assertIn(".sluice.incomplete", line)

    def test_a_size_limit_that_is_met_on_the_way(self):
        self.tell(lambda h: h.answer(200, self.data, length=-1) or setattr(h, "close_connection", True))
        self.assert_refused("larger than files may be here", arguments=["pull", "o/m"], preexec_fn=lambda:
                            resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, MEGABYTE)))

    def test_a_model_for_which_no_disk_is_large_enough(self):
        tree = f"/api/models/o/m/tree/{COMMIT}"
        self.hub.files[tree] = json.dumps([{"type": "file", "path": NAME, "size": 1 << 55,
                                            "lfs": {"oid": "a" * 64, "size": 1 << 55}}]).encode()
        self.assert_refused("33554432.00 GiB are needed", "are free", "HF_HUB_CACHE", arguments=["pull", "o/m"])
        self.assertEqual(self.store.requests, [])

    def test_a_full_disk(self):
        disk = self.folder / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], capture_output=True,
                          check=False).returncode:
            self.skipTest("mounting a small disk needs root")
        self.addCleanup(subprocess.run, ["umount", str(disk)], check=True)
        self.assert_refused("are free", arguments=["pull", "o/m"], env={"HF_HUB_CACHE": str(disk)})
        self.store.files["/m.gguf"] = lambda h: h.answer(200, self.data, length=-1) or setattr(h, "close_connection", True)
        self.assert_refused("the disk is full", arguments=["pull", self.store.address() + "/m.gguf"],
                            env={"XDG_CACHE_HOME": str(disk)})

    def test_folders_that_cannot_be(self):
        (self.folder / "file").write_text("")
        self.assert_refused("cannot make the folder", arguments=["pull", "o/m"],
                            env={"HF_HUB_CACHE": str(self.folder / "file")})
        self.store.files["/m.gguf"] = self.data
        self.assert_refused("is a folder", arguments=["pull", self.store.address() + "/m.gguf", "-o", str(self.folder)], code=2)


if __name__ == "__main__":
    unittest.main()
