#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hours of a server in minutes: soak.py SLUICE MODEL.gguf [requests, 10000]

Mixed requests on all routes from several clients, some aborted, some wrong; the server's memory after every hundredth
of them, and its slope. Then a thousand slow connections beside a stream and /health, and a thousand streams that are
aborted at some token. The text of one greedy request must be the same at the start and at the end.
Exit code 1 when a limit is missed."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

WORDS = "kernel model file memory cache river stone bread window garden number letter".split()
# Per 1,000 requests. The first tenth warms caches up.
MOST_SLOPE = 1 << 20
MOST_HEALTH_SECONDS = 0.05
failures = []


def check(ok, text):
    print(("ok      " if ok else "FAILED  ") + text, flush=True)
    if not ok:
        failures.append(text)


class Server:
    def __init__(self, program, model):
        self.process = subprocess.Popen(
            [program, "serve", "-m", model, "--port", "0", "-np", "4", "--queue", "64", "--max-connections", "2048",
             "-lv", "1"], stdout=subprocess.PIPE)
        line = self.process.stdout.readline().decode()
        self.port = int(re.search(r"listening on http://[^:]+:(\d+)", line)[1])

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def memory(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Rss:\s+(\d+) kB", text, re.M)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait_until_idle(self):
        for _ in range(1000):
            slots = json.loads(self.ask("GET", "/slots")[1])
            if not any(slot["is_processing"] for slot in slots):
                return True
            time.sleep(0.02)
        return False


def sentence(rng, most):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))


def one(server, n):
    """Any request; returns what went wrong, or None."""
    rng = random.Random(n)
    messages = [{"role": "user", "content": sentence(rng, 120)}]
    sampling = {"temperature": rng.choice([0, 0.7, 1.5]), "top_k": rng.choice([0, 1, 40]), "seed": n}
    kind = rng.randrange(12)
    if kind == 0:
        status, body = server.ask("POST", "/v1/chat/completions", {"messages": messages, "temperature": "hot"})
        return None if status == 400 else f"{status} {body!r}"
    if kind == 1:
        status, body = server.ask("POST", "/tokenize", {"content": messages[0]["content"]})
    elif kind == 2:
        status, body = server.ask("GET", rng.choice(["/metrics", "/props", "/v1/models", "/slots"]))
    elif kind == 3:
        status, body = server.ask("POST", "/v1/messages", {"messages": messages, "max_tokens": rng.randint(1, 24)})
    elif kind == 4:
        status, body = server.ask("POST", "/v1/responses", {"input": messages, "max_output_tokens": rng.randint(1, 24)})
    elif kind == 5:
        status, body = server.ask("POST", "/v1/completions", {"prompt": messages[0]["content"], "n": 2, "logprobs": 2,
                                                              "max_tokens": rng.randint(1, 16), **sampling})
    elif kind in (6, 7):
        return aborted(server, {"messages": messages, "stream": True, "max_tokens": 200, "ignore_eos": True, **sampling},
                       rng.randint(1, 12))
    else:
        if kind == 8:
            messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": sentence(rng, 20)}]
        status, body = server.ask("POST", "/v1/chat/completions", {"messages": messages, "max_tokens": rng.randint(1, 24),
                                                                   "stream": kind % 2 == 0, **sampling})
    return None if status == 200 else f"kind {kind}: {status} {body!r}"


def aborted(server, body, events):
    """Goes after so many events of a stream."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=120)
    data = json.dumps(body).encode()
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    seen = b""
    while seen.count(b"data: ") < events:
        part = connection.recv(4096)
        if not part:
            break
        seen += part
    connection.close()
    return None if seen.startswith(b"HTTP/1.1 200") else repr(seen[:200])


def slope(points):
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def mixed(server, count):
    points, wrong = [], []
    step = max(count // 100, 8)
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for first in range(0, count, step):
            for result in pool.map(lambda n: one(server, n), range(first, min(first + step, count))):
                if result:
                    wrong.append(result)
            server.wait_until_idle()
            points.append((first + step, server.memory()))
    points = points[len(points) // 10:]
    rise = slope(points) * 1000
    print(f"        {count} requests in {time.monotonic() - begin:.0f} s; memory {points[0][1] >> 20} MiB after "
          f"{points[0][0]}, {points[-1][1] >> 20} MiB at the end")
    check(not wrong, f"every request got the answer it should: {len(wrong)} did not {wrong[:2]}")
    check(rise < MOST_SLOPE, f"memory: {rise / (1 << 20):+.2f} MiB per 1,000 requests, at most {MOST_SLOPE >> 20}")


def streaming_rate(server, seconds):
    """Tokens per second of one stream for so long."""
    body = json.dumps({"prompt": "The", "stream": True, "ignore_eos": True, "temperature": 0}).encode()
    count, begin = 0, time.monotonic()
    while time.monotonic() - begin < seconds:
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=120)
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
                           + body)
        while time.monotonic() - begin < seconds:
            part = connection.recv(65536)
            if not part:
                break
            count += part.count(b"data: ")
        connection.close()
    return count / (time.monotonic() - begin)


def slow_connections(server, count):
    server.wait_until_idle()
    rates = {False: [], True: []}
    times = []
    for _ in range(3):
        rates[False].append(streaming_rate(server, 3))
        slow, stop = [], threading.Event()
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.send(b"G")
            slow.append(connection)

        def dribble():
            text = b"ET /health HTTP/1.1\r\nX: " + b"y" * 100
            at = 0
            while not stop.wait(1):  # each a byte every ten seconds, a tenth of them at a time
                for connection in slow[at % 10::10]:
                    try:
                        connection.send(text[at // 10:at // 10 + 1])
                    except OSError:
                        pass
                at += 1
        thread = threading.Thread(target=dribble)
        thread.start()
        rates[True].append(streaming_rate(server, 3))
        for _ in range(100):
            begin = time.monotonic()
            server.ask("GET", "/health")
            times.append(time.monotonic() - begin)
        stop.set()
        thread.join()
        for connection in slow:
            connection.close()
    times.sort()
    p99 = times[len(times) * 99 // 100]
    loss = 1 - sorted(rates[True])[1] / sorted(rates[False])[1]
    check(p99 < MOST_HEALTH_SECONDS, f"{count} slow connections: /health takes {1000 * p99:.1f} ms (99 of 100)")
    check(loss < 0.02, f"{count} slow connections: a stream loses {100 * loss:.1f} % of its speed")


def aborted_streams(server, count):
    server.wait_until_idle()
    descriptors, memory = server.descriptors(), server.memory()
    rng = random.Random(1)
    wrong = [w for w in (aborted(server, {"messages": [{"role": "user", "content": sentence(rng, 30)}], "stream": True,
                                          "ignore_eos": True}, rng.randint(1, 30)) for _ in range(count)) if w]
    check(not wrong, f"{count} aborted streams: {len(wrong)} did not begin")
    check(server.wait_until_idle(), "no slot is lost")
    time.sleep(3)
    check(server.descriptors() <= descriptors, f"descriptors: {descriptors} before, {server.descriptors()} after")
    drift = server.memory() / memory - 1
    check(drift < 0.01, f"memory: {100 * drift:+.2f} %")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    server = Server(sys.argv[1], sys.argv[2])
    greedy = ("POST", "/v1/completions", {"prompt": "The Linux kernel", "temperature": 0, "max_tokens": 64, "ignore_eos": True})
    first = json.loads(server.ask(*greedy)[1])["choices"]
    mixed(server, int(sys.argv[3]) if len(sys.argv) > 3 else 10000)
    slow_connections(server, 1000)
    aborted_streams(server, 1000)
    check(json.loads(server.ask(*greedy)[1])["choices"] == first, "the same text at the start and at the end")
    server.process.send_signal(signal.SIGTERM)
    check(server.process.wait(timeout=30) == 0, "it ends with exit code 0")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
