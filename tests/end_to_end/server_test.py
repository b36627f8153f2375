#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The server as a black box, with Python's own HTTP client, on the models that come with the program."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
TINY = str(ROOT / "models/sluice-tiny.gguf")
HYBRID = str(ROOT / "models/sluice-hybrid.gguf")
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Current weather",
                                            "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                                                           "required": ["city"]}}}


class Server:
    def __init__(self, *arguments, model=TINY, env=None, command="serve", log="2"):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [SLUICE, command, "-m", model, "--port", "0", "-lv", log, *arguments], stdout=subprocess.PIPE,
            stderr=self.errors, env={**os.environ, **(env or {})})
        line = self.process.stdout.readline().decode()
        found = re.match(r"listening on (https?)://\S+:(\d+), (\d+) slots of (\d+) tokens", line)
        if not found:
            self.process.wait(timeout=30)
            raise AssertionError(line + self.log())
        self.tls = found[1] == "https"
        self.port, self.slots, self.context = int(found[2]), int(found[3]), int(found[4])

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode()

    def connect(self, timeout=60):
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def raw(self, method, path, body=None, headers=None):
        """Returns (status, headers, bytes)."""
        connection = self.connect()
        try:
            connection.request(method, path, body if body is None or isinstance(body, (bytes, str))
                               else json.dumps(body), headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path, **options):
        status, _, body = self.raw("GET", path, **options)
        return status, json.loads(body)

    def post(self, path, body, **options):
        status, _, answer = self.raw("POST", path, body, **options)
        return status, json.loads(answer)

    def events(self, path, body, **options):
        """The stream's (event name, data) pairs."""
        status, headers, answer = self.raw("POST", path, {**body, "stream": True}, **options)
        assert status == 200, answer
        assert headers["Content-Type"] == "text/event-stream", headers
        events = []
        for block in answer.decode().strip().split("\n\n"):
            name = re.search(r"^event: (.*)$", block, re.M)
            data = re.search(r"^data: (.*)$", block, re.M)
            if data:
                events.append((name and name[1], data[1]))
        return events

    def stop(self, by=signal.SIGTERM):
        self.process.send_signal(by)
        code = self.process.wait(timeout=20)
        self.process.stdout.close()
        return code

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait_until_idle(self):
        for _ in range(500):
            if not any(slot["is_processing"] for slot in self.get("/slots")[1]):
                return
            time.sleep(0.02)
        raise AssertionError("a slot stays busy")


def user(text, **more):
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, **more}


class Shared(unittest.TestCase):
    """One server for all tests of a class."""
    arguments = ()
    model = TINY

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.arguments, model=cls.model)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        log = cls.server.log()
        cls.server.errors.close()
        assert code == 0, log


class Chat(Shared):
    arguments = ("-np", "4")

    def chat(self, text, **more):
        status, answer = self.server.post("/v1/chat/completions", user(text, **more))
        self.assertEqual(status, 200, answer)
        return answer

    def test_answer(self):
        answer = self.chat("What is 347 + 285?")
        self.assertEqual(answer["object"], "chat.completion")
        self.assertTrue(answer["id"].startswith("chatcmpl-"))
        self.assertEqual(answer["model"], pathlib.Path(self.model).name)
        choice = answer["choices"][0]
        self.assertEqual(choice["message"], {"role": "assistant", "content": "347 + 285 = 632"})
        self.assertEqual(choice["finish_reason"], "stop")
        self.assertIsNone(choice["logprobs"])
        usage = answer["usage"]
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])
        timings = answer["timings"]
        self.assertEqual(timings["cache_n"] + timings["prompt_n"], usage["prompt_tokens"])
        self.assertEqual(timings["predicted_n"], usage["completion_tokens"])
        for name in ("prompt_ms", "prompt_per_token_ms", "prompt_per_second", "predicted_ms", "predicted_per_token_ms",
                     "predicted_per_second", "queue_ms", "ttft_ms"):
            self.assertGreaterEqual(timings[name], 0, name)
        self.assertGreater(timings["experts"]["hit_ram"] + timings["experts"]["read_ssd"], 0)

    def test_stream(self):
        events = self.server.events("/v1/chat/completions", user("What is 347 + 285?",
                                                                 stream_options={"include_usage": True}))
        self.assertEqual(events[-1][1], "[DONE]")
        chunks = [json.loads(data) for _, data in events[:-1]]
        self.assertEqual({chunk["object"] for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({chunk["id"] for chunk in chunks}), 1)
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": None})
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1])
        self.assertEqual(text, "347 + 285 = 632")
        self.assertEqual([chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]],
                         [None] * (len(chunks) - 2) + ["stop"])
        self.assertTrue(all(chunk["usage"] is None for chunk in chunks[:-1]))
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertGreater(chunks[-1]["usage"]["completion_tokens"], 5)
        self.assertIn("timings", chunks[-2])
        plain = self.server.events("/v1/chat/completions", user("Hello"))
        self.assertNotIn("usage", json.loads(plain[0][1]))

    def test_streamed_logprobs_are_those_of_the_text(self):
        events = self.server.events("/v1/chat/completions", user("What is 12 + 30?", logprobs=True))
        choices = [json.loads(data)["choices"][0] for _, data in events[:-1]]
        self.assertIsNone(choices[0]["logprobs"])
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        tokens = [entry["token"] for choice in choices if choice["logprobs"] for entry in choice["logprobs"]["content"]]
        self.assertEqual("".join(tokens), text)

    def test_cached_prompt(self):
        text = "Sort these words: pear, apple, zebra, bench, chair"
        first = self.chat(text)
        again = self.chat(text)
        self.assertEqual(again["choices"][0]["message"], first["choices"][0]["message"])
        self.assertGreaterEqual(again["timings"]["cache_n"], again["usage"]["prompt_tokens"] - 1)
        fresh = self.chat(text, cache_prompt=False)
        self.assertEqual(fresh["timings"]["cache_n"], 0)
        self.assertEqual(fresh["choices"][0]["message"], first["choices"][0]["message"])

    def test_a_beginning_that_is_held_is_not_read_again(self):
        ratios = []
        for n in range(3):
            text = f"Notes of day {n}:" + "".join(f" item {k} is on shelf {k * 37 % 91}," for k in range(400))
            tokens = self.server.post("/tokenize", {"content": text})[1]["tokens"][:2000]
            self.assertEqual(len(tokens), 2000)
            times = []
            for end in ([], self.server.post("/tokenize", {"content": " and what else?"})[1]["tokens"]):
                body = {"prompt": tokens + end, "max_tokens": 2, "temperature": 0, "ignore_eos": True}
                timings = self.server.post("/completion", body)[1]["timings"]
                times.append(timings["ttft_ms"])
            self.assertEqual(timings["cache_n"], 2000)
            ratios.append(times[1] / times[0])
        self.assertLess(sorted(ratios)[1], 1 / 20)

    def test_timings_per_token(self):
        events = self.server.events("/v1/chat/completions", user("What is 12 + 30?", timings_per_token=True))
        counts = [json.loads(data)["timings"]["predicted_n"] for _, data in events[1:-1]]
        self.assertEqual(counts, sorted(counts))
        self.assertGreater(counts[-1], counts[0])

    def test_many_at_once_get_what_one_gets(self):
        questions = [f"What is {n * 37 % 500} + {n * 91 % 400}?" for n in range(24)]
        alone = [self.chat(question, cache_prompt=False)["choices"][0]["message"]["content"] for question in questions]
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            together = list(pool.map(
                lambda question: self.chat(question)["choices"][0]["message"]["content"], questions))
        self.assertEqual(together, alone)
        self.assertEqual(alone[1], "37 + 91 = 128")

    def test_several_answers(self):
        answer = self.chat("Tell me a story", n=3, temperature=8, top_k=0, top_p=1, min_p=0, seed=1, max_tokens=8)
        texts = [choice["message"]["content"] for choice in answer["choices"]]
        self.assertEqual([choice["index"] for choice in answer["choices"]], [0, 1, 2])
        self.assertGreater(len(set(texts)), 1)
        again = self.chat("Tell me a story", n=3, temperature=8, top_k=0, top_p=1, min_p=0, seed=1, max_tokens=8)
        self.assertEqual([choice["message"]["content"] for choice in again["choices"]], texts)

    def test_limits_of_an_answer(self):
        answer = self.chat("What is 347 + 285?", max_tokens=3)
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["usage"]["completion_tokens"], 3)
        answer = self.chat("What is 347 + 285?", stop=["= 6"])
        self.assertEqual(answer["choices"][0]["message"]["content"], "347 + 285 ")
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")

    def test_logprobs(self):
        answer = self.chat("What is 2 + 2?", logprobs=True, top_logprobs=2)
        content = answer["choices"][0]["logprobs"]["content"]
        self.assertEqual("".join(entry["token"] for entry in content), "2 + 2 = 4")
        for entry in content:
            self.assertEqual(len(entry["top_logprobs"]), 2)
            self.assertEqual(entry["logprob"], entry["top_logprobs"][0]["logprob"])
            self.assertEqual(bytes(entry["bytes"]).decode(), entry["token"])
            self.assertLessEqual(entry["logprob"], 0)

    def test_logit_bias(self):
        banned = self.server.post("/tokenize", {"content": "4"})[1]["tokens"][0]
        answer = self.chat("What is 2 + 2?", logit_bias={str(banned): -100})
        self.assertNotIn("4", answer["choices"][0]["message"]["content"])

    def test_tool_call(self):
        body = user("What is the weather in Paris?", tools=[WEATHER])
        status, answer = self.server.post("/v1/chat/completions", body)
        self.assertEqual(status, 200)
        choice = answer["choices"][0]
        self.assertEqual(choice["finish_reason"], "tool_calls", choice)
        self.assertIsNone(choice["message"]["content"])
        call = choice["message"]["tool_calls"][0]
        self.assertEqual(call["type"], "function")
        self.assertEqual(call["function"]["name"], "get_weather")
        arguments = json.loads(call["function"]["arguments"])
        deltas = [json.loads(data)["choices"][0]["delta"] for _, data in
                  self.server.events("/v1/chat/completions", body)[:-1]]
        calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        self.assertEqual(calls[0]["function"], {"name": "get_weather", "arguments": ""})
        self.assertTrue(calls[0]["id"].startswith("call_"))
        self.assertGreater(len(calls), 2)  # the arguments come while they are written
        self.assertEqual(json.loads("".join(part["function"]["arguments"] for part in calls)), arguments)
        self.assertTrue(all(part["index"] == 0 and "name" not in part["function"] for part in calls[1:]))
        # The result goes back; the conversation goes on.
        messages = body["messages"] + [choice["message"], {"role": "tool", "tool_call_id": call["id"],
                                                           "content": "18 degrees and sunny"}]
        status, answer = self.server.post("/v1/chat/completions", {**body, "messages": messages})
        self.assertEqual(status, 200, answer)
        self.assertEqual(self.chat("What is the weather in Paris?", tools=[WEATHER], tool_choice="none")
                         ["choices"][0]["finish_reason"], "stop")

    def test_content_parts_and_developer_messages(self):
        answer = self.server.post("/v1/chat/completions", {"temperature": 0, "messages": [
            {"role": "developer", "content": "You are Sluice's embedded demonstration model."},
            {"role": "user", "content": [{"type": "text", "text": "What is 12 + 30?"}]}]})[1]
        self.assertEqual(answer["choices"][0]["message"]["content"], "12 + 30 = 42")

    def test_messages(self):
        body = {"max_tokens": 50, "temperature": 0, "messages": [{"role": "user", "content": "What is 12 + 30?"}]}
        status, answer = self.server.post("/v1/messages", body)
        self.assertEqual(status, 200, answer)
        self.assertTrue(answer["id"].startswith("msg_"))
        self.assertEqual(answer["content"], [{"type": "text", "text": "12 + 30 = 42"}])
        self.assertEqual(answer["stop_reason"], "end_turn")
        self.assertEqual(answer["usage"]["output_tokens"], answer["timings"]["predicted_n"])
        status, answer = self.server.post("/v1/messages", {**body, "stop_sequences": ["= "]})
        self.assertEqual((answer["stop_reason"], answer["stop_sequence"]), ("stop_sequence", "= "))
        events = self.server.events("/v1/messages", body)
        self.assertTrue(all(name == json.loads(data)["type"] for name, data in events))
        names = [name for name, _ in events]
        self.assertEqual(names[:2] + names[-3:], ["message_start", "content_block_start", "content_block_stop",
                                                  "message_delta", "message_stop"])
        text = "".join(json.loads(data)["delta"]["text"] for name, data in events if name == "content_block_delta")
        self.assertEqual(text, "12 + 30 = 42")
        count = self.server.post("/v1/messages/count_tokens", body)[1]["input_tokens"]
        usage = json.loads(events[-2][1])["usage"]
        self.assertEqual(usage["input_tokens"] + usage["cache_read_input_tokens"], count)

    def test_messages_with_tools(self):
        body = {"max_tokens": 80, "temperature": 0, "tools": [
            {"name": "get_weather", "description": "Current weather", "input_schema": WEATHER["function"]["parameters"]}],
            "messages": [{"role": "user", "content": "What is the weather in Paris?"}]}
        answer = self.server.post("/v1/messages", body)[1]
        self.assertEqual(answer["stop_reason"], "tool_use", answer)
        block = answer["content"][-1]
        self.assertEqual((block["type"], block["name"]), ("tool_use", "get_weather"))
        self.assertIsInstance(block["input"], dict)
        events = self.server.events("/v1/messages", body)
        parts = [json.loads(data)["delta"]["partial_json"] for name, data in events
                 if name == "content_block_delta" and "partial_json" in data]
        self.assertEqual(json.loads("".join(parts)), block["input"])
        body["messages"] += [{"role": "assistant", "content": answer["content"]},
                             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"],
                                                           "content": "18 degrees"}]}]
        self.assertEqual(self.server.post("/v1/messages", body)[0], 200)

    def test_responses(self):
        status, answer = self.server.post("/v1/responses", {"input": "What is 12 + 30?", "temperature": 0})
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["status"], "completed")
        self.assertEqual(answer["output"][0]["content"][0]["text"], "12 + 30 = 42")
        events = [json.loads(data) for _, data in
                  self.server.events("/v1/responses", {"input": "What is 12 + 30?", "temperature": 0})]
        self.assertEqual([event["sequence_number"] for event in events], list(range(len(events))))
        self.assertEqual(events[0]["type"], "response.created")
        self.assertEqual(events[-1]["type"], "response.completed")
        text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        self.assertEqual(text, "12 + 30 = 42")
        self.assertEqual(events[-1]["response"]["output"][0]["content"][0]["text"], text)

    def test_disconnect_frees_the_slot(self):
        descriptors = self.server.descriptors()
        memory = None
        for n in range(60):
            connection = self.server.connect()
            connection.request("POST", "/v1/completions", json.dumps(
                {"prompt": f"{n} The Linux kernel", "stream": True, "ignore_eos": True}))
            answer = connection.getresponse()
            answer.read(50 + 37 * n % 400)
            answer.close()
            connection.close()
            if n == 20:
                memory = self.server.memory()
        self.server.wait_until_idle()
        self.assertLess(self.server.memory() - memory, 16 << 20)
        for _ in range(100):
            if self.server.descriptors() <= descriptors:
                break
            time.sleep(0.05)
        self.assertLessEqual(self.server.descriptors(), descriptors)

    def test_slow_connections_do_not_matter(self):
        idle = []
        for _ in range(200):
            one = socket.create_connection(("127.0.0.1", self.server.port))
            one.send(b"GET /hea")
            idle.append(one)
        times = []
        for _ in range(50):
            start = time.monotonic()
            self.assertEqual(self.server.get("/health")[0], 200)
            times.append(time.monotonic() - start)
        self.assertLess(sorted(times)[-2], 0.2)
        for one in idle:
            one.close()

    def test_bad_bodies(self):
        for body, part in ((b"{", "at byte"), (b"[" * 100000, "deeper"), (b"\xff", "no JSON"), (b"[]", "an object"),
                           (b'{"messages": [], "messages": []}', "twice")):
            status, answer = self.server.post("/v1/chat/completions", body)
            self.assertEqual(status, 400)
            self.assertIn(part, answer["error"]["message"])
        status, answer = self.server.post("/v1/chat/completions", b"x" * (5 << 20))
        self.assertEqual(status, 413)


class HybridChat(Chat):
    """The same, with recurrent layers."""
    model = HYBRID

    def test_logit_bias(self):
        self.skipTest("of the other model")


class Security(unittest.TestCase):
    def test_keys(self):
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("# people\nkey-of-ann\n\n  key-of-bob  \n")
            keys.flush()
            server = Server("-np", "2", "--api-key-file", keys.name, log="4")
        ann = {"Authorization": "Bearer key-of-ann"}
        bob = {"x-api-key": "key-of-bob"}
        self.assertEqual(server.get("/health")[0], 200)
        self.assertEqual(server.get("/v1/models")[0], 401)
        self.assertEqual(server.get("/v1/models", headers=ann)[0], 200)
        text = "The texts of one are none of the other's business, however often they come. " * 3
        first = server.post("/v1/chat/completions", user(text, max_tokens=2), headers=ann)[1]
        other = server.post("/v1/chat/completions", user(text, max_tokens=2), headers=bob)[1]
        again = server.post("/v1/chat/completions", user(text, max_tokens=2), headers=ann)[1]
        self.assertEqual(other["timings"]["cache_n"], 0)
        self.assertGreater(again["timings"]["cache_n"], 20)
        self.assertEqual(other["choices"], first["choices"])
        self.assertEqual(server.stop(), 0)
        self.assertNotIn("key-of", server.log())
        server.errors.close()

    def test_key_from_the_environment(self):
        server = Server(env={"LLAMA_API_KEY": "abc"})
        self.assertEqual(server.get("/v1/models")[0], 401)
        self.assertEqual(server.get("/v1/models", headers={"Authorization": "Bearer abc"})[0], 200)
        self.assertEqual(server.stop(signal.SIGINT), 0)
        server.errors.close()

    def test_open_to_everybody_is_warned_about(self):
        server = Server("--host", "0.0.0.0")
        server.stop()
        self.assertIn("--api-key-file", server.log())
        server.errors.close()

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            cert, key = folder + "/cert.pem", folder + "/key.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout",
                            key, "-out", cert, "-days", "2"], check=True, capture_output=True)
            server = Server("--ssl-cert-file", cert, "--ssl-key-file", key)
        self.assertTrue(server.tls)
        self.assertEqual(server.get("/health")[0], 200)
        answer = server.post("/v1/chat/completions", user("What is 12 + 30?"))[1]
        self.assertEqual(answer["choices"][0]["message"]["content"], "12 + 30 = 42")
        self.assertGreater(len(server.events("/v1/chat/completions", user("Hello"))), 3)
        self.assertEqual(server.stop(), 0)
        server.errors.close()


class Life(unittest.TestCase):
    def test_names_of_the_command(self):
        for command in ("server", "--server", "-s"):
            server = Server(command=command)
            self.assertEqual(server.get("/health")[0], 200)
            self.assertEqual(server.stop(), 0)
            server.errors.close()

    def test_environment_and_flags(self):
        server = Server("-c", "512", "-a", "demo", "-n", "3", "--jinja", "-cb", env={"LLAMA_ARG_N_PARALLEL": "3"})
        self.assertEqual((server.slots, server.context), (3, 512))
        self.assertEqual(server.get("/v1/models")[1]["data"][0]["id"], "demo")
        self.assertEqual(server.post("/v1/chat/completions", user("Who are you?"))[1]["usage"]["completion_tokens"], 3)
        server.stop()
        server.errors.close()

    def test_wrong_flags(self):
        def error(*arguments):
            done = subprocess.run([SLUICE, "serve", *arguments], capture_output=True, timeout=60, check=False)
            return done.returncode, done.stderr.decode()
        self.assertEqual(error()[0], 2)
        self.assertEqual(error("-m", TINY, "--port", "70000")[0], 2)
        self.assertIn("--ssl-key-file", error("-m", TINY, "--ssl-cert-file", "x")[1])
        with socket.create_server(("127.0.0.1", 0)) as taken:
            code, text = error("-m", TINY, "--port", str(taken.getsockname()[1]))
        self.assertEqual(code, 1)
        self.assertIn("use another --port", text)

    def test_ends_in_the_middle_of_a_stream(self):
        for by in (signal.SIGTERM, signal.SIGINT):
            server = Server("-np", "2")
            connection = server.connect()
            connection.request("POST", "/v1/completions", json.dumps(
                {"prompt": "The Linux kernel", "stream": True, "ignore_eos": True, "temperature": 0}))
            answer = connection.getresponse()
            self.assertTrue(answer.read(20))
            start = time.monotonic()
            server.process.send_signal(by)
            rest = answer.read()  # ends, and properly: after a whole event
            self.assertEqual(rest[-2:], b"\n\n")
            self.assertEqual(server.process.wait(timeout=10), 0)
            self.assertLess(time.monotonic() - start, 5)
            connection.close()
            server.process.stdout.close()
            server.errors.close()

    def test_overload(self):
        server = Server("-np", "1", "--queue", "2", "-c", "1024")
        statuses = []

        def ask(n):
            status, headers, _ = server.raw("POST", "/v1/completions", {"prompt": f"{n} The kernel", "max_tokens": 60,
                                                                        "ignore_eos": True, "temperature": 0})
            if status == 429:
                self.assertEqual(headers["Retry-After"], "1")
            statuses.append(status)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(ask, range(32)))
        self.assertLessEqual(set(statuses), {200, 429})
        self.assertGreaterEqual(statuses.count(200), 3)
        self.assertGreater(statuses.count(429), 0)
        self.assertEqual(server.stop(), 0)
        server.errors.close()


if __name__ == "__main__":
    unittest.main()
