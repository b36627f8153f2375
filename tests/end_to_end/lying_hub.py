# SPDX-License-Identifier: Apache-2.0
"""A hub of models on this machine that tells the truth or lies, as a test wants."""
import contextlib
import hashlib
import http.server
import json
import re
import socket
import threading
import time
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` (path -> bytes). `lie(handler, path)` may answer instead; it returns True when it has."""
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host="127.0.0.1"):
        super().__init__((host, 0), Handler)
        self.files = {}
        self.headers_of = {}  # path -> headers that come with it
        self.etag = '"version-1"'
        self.lie = None
        self.slow = 0.0  # seconds for every 64 KiB
        self.requests = []  # (path, headers) in the order they came
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def handle_error(self, request, client_address):
        pass  # clients that are killed

    def address(self, host=None):
        return f"http://{host or self.server_address[0]}:{self.server_address[1]}"

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.close_connection = False
        path = urllib.parse.unquote(self.path)
        with self.server.lock:
            self.server.requests.append((path, dict(self.headers)))
        with contextlib.suppress(ConnectionError):
            if self.server.lie and self.server.lie(self, path):
                return
            self.serve(path)

    def serve(self, path):
        body = self.server.files.get(path.split("?")[0])
        if body is None:
            self.answer(404, b"nothing here")
            return
        if callable(body):
            body(self)
            return
        extra = self.server.headers_of.get(path, {})
        wanted = self.range(len(body))
        if wanted is None:
            self.answer(200, body, {"ETag": self.server.etag, "Accept-Ranges": "bytes", **extra})
        else:
            first, last = wanted
            self.answer(206, body[first:last + 1], {
                "ETag": self.server.etag, "Content-Range": f"bytes {first}-{last}/{len(body)}", **extra})

    def range(self, size):
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        return (int(match[1]), min(int(match[2]), size - 1)) if match else None

    def answer(self, status, body, headers=None, length=None):
        self.send_response(status)
        for name, value in {"Content-Type": "application/octet-stream", **(headers or {})}.items():
            self.send_header(name, value)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if not self.server.slow:
            self.wfile.write(body)
            return
        for at in range(0, len(body), 65536):
            self.wfile.write(body[at:at + 65536])
            time.sleep(self.server.slow)

    def reset(self):
        """The connection ends as if a cable was pulled."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()
        self.close_connection = True


class Hub(Server):
    """Lists repositories and redirects to another server that has the files, as the real one does."""

    def __init__(self, store=None):
        super().__init__()
        self.store = store
        self.repositories = {}  # "owner/repo" -> {path: bytes}
        self.api_headers = {}

    def add(self, repository, files, commit=COMMIT):
        self.repositories[repository] = files
        api = f"/api/models/{repository}"
        entries = [{"type": "directory", "path": "folder", "oid": "0" * 40, "size": 0}]
        for path, content in files.items():
            sha256 = hashlib.sha256(content).hexdigest()
            entries.append({"type": "file", "path": path, "size": len(content), "oid": "f" * 40,
                            "lfs": {"oid": sha256, "size": len(content), "pointerSize": 134}})
            linked = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": commit}
            here = f"/{repository}/resolve/{commit}/{path}"
            if self.store:
                self.store.files[f"/blob/{sha256}"] = content
                self.files[here] = self.redirect(f"{self.store.address('localhost')}/blob/{sha256}?signature=secret", linked)
            else:
                self.files[here] = content
                self.headers_of[here] = linked
        self.files[f"{api}/revision/main"] = json.dumps({"id": repository, "sha": commit}).encode()
        self.files[f"{api}/tree/{commit}"] = json.dumps(entries).encode()
        return entries

    @staticmethod
    def redirect(location, headers=None):
        return lambda handler: handler.answer(302, b"", {"Location": location, **(headers or {})})
