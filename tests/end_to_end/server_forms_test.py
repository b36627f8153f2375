#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Grammars, JSON schemas and forced calls of tools in the server's protocols."""
import concurrent.futures
import json
import statistics
import time
import unittest

from server_test import WEATHER, Shared, user


class Forms(Shared):
    """Answers that must look like something."""
    arguments = ("-np", "4")
    SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12},
                                               "count": {"type": "integer", "minimum": 1, "maximum": 99},
                                               "kind": {"enum": ["fruit", "tool"]}},
              "required": ["name", "count", "kind"], "additionalProperties": False}

    def check(self, text):
        value = json.loads(text)
        self.assertEqual(list(value), ["name", "count", "kind"])
        self.assertLessEqual(len(value["name"]), 12)
        self.assertTrue(1 <= value["count"] <= 99 and value["kind"] in ("fruit", "tool"))

    def ask(self, path, body):
        status, answer = self.server.post(path, body)
        self.assertEqual(status, 200, answer)
        return answer

    def test_schemas_in_every_protocol(self):
        question = [{"role": "user", "content": "Who are you?"}]
        for seed in range(6):
            hot = {"temperature": 1.5, "seed": seed}
            answer = self.ask("/v1/chat/completions", {**hot, "messages": question, "n": 2, "response_format": {
                "type": "json_schema", "json_schema": {"name": "thing", "strict": True, "schema": self.SCHEMA}}})
            for choice in answer["choices"]:
                self.check(choice["message"]["content"])
                self.assertEqual(choice["finish_reason"], "stop")
            answer = self.ask("/v1/responses", {**hot, "input": "Who are you?", "text": {"format": {
                "type": "json_schema", "name": "thing", "schema": self.SCHEMA}}})
            self.check(answer["output"][-1]["content"][0]["text"])
            answer = self.ask("/v1/messages", {**hot, "max_tokens": 200, "messages": question, "output_config": {
                "format": {"type": "json_schema", "schema": self.SCHEMA}}})
            self.check(answer["content"][-1]["text"])
            answer = self.ask("/completion", {**hot, "prompt": "A thing:", "json_schema": self.SCHEMA})
            self.check(answer["content"])
            answer = self.ask("/v1/completions", {**hot, "prompt": "A word:", "grammar": "root ::= [a-z]{2,9}"})
            self.assertRegex(answer["choices"][0]["text"], r"^[a-z]{2,9}$")
        events = self.server.events("/v1/chat/completions", {"messages": question, "response_format": {
            "type": "json_schema", "json_schema": {"name": "thing", "schema": self.SCHEMA}}})
        self.check("".join(json.loads(data)["choices"][0]["delta"].get("content") or "" for _, data in events[:-1]))

    def test_any_object(self):
        for seed in range(4):
            answer = self.ask("/v1/chat/completions", user("Who are you?", temperature=1, seed=seed, max_tokens=300,
                                                           response_format={"type": "json_object"}))
            choice = answer["choices"][0]
            if choice["finish_reason"] == "stop":
                self.assertIsInstance(json.loads(choice["message"]["content"]), dict)
            self.assertTrue(choice["message"]["content"].startswith("{"))

    def test_calls_that_must_come(self):
        other = {"type": "function", "function": {"name": "add", "parameters": {
            "type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 999},
                                             "b": {"type": "integer", "minimum": 0, "maximum": 999}},
            "required": ["a", "b"]}}}
        weather = json.loads(json.dumps(WEATHER))
        weather["function"]["parameters"]["properties"]["city"]["maxLength"] = 20
        for choice, names in (("required", {"get_weather", "add"}),
                              ({"type": "function", "function": {"name": "add"}}, {"add"})):
            for seed in range(6):
                body = user("Who are you?", tools=[weather, other], tool_choice=choice, temperature=1.5, seed=seed,
                            parallel_tool_calls=False, max_tokens=300)
                message = self.ask("/v1/chat/completions", body)["choices"][0]["message"]
                self.assertIsNone(message["content"])
                self.assertEqual(len(message["tool_calls"]), 1)
                call = message["tool_calls"][0]["function"]
                self.assertIn(call["name"], names)
                arguments = json.loads(call["arguments"])
                self.assertEqual(set(arguments), {"a", "b"} if call["name"] == "add" else {"city"})
        answer = self.ask("/v1/messages", {
            "max_tokens": 200, "temperature": 0, "messages": [{"role": "user", "content": "Who are you?"}],
            "tools": [{"name": "add", "input_schema": other["function"]["parameters"]}],
            "tool_choice": {"type": "tool", "name": "add"}})
        self.assertEqual([block["type"] for block in answer["content"]], ["tool_use"] * len(answer["content"]))
        self.assertEqual(set(answer["content"][0]["input"]), {"a", "b"})
        self.assertEqual(answer["stop_reason"], "tool_use")
        answer = self.ask("/v1/responses", {"input": "Who are you?", "temperature": 0, "parallel_tool_calls": False,
                                            "tools": [{"type": "function", **other["function"]}],
                                            "tool_choice": "required"})
        self.assertEqual([item["type"] for item in answer["output"]], ["function_call"])
        self.assertEqual(set(json.loads(answer["output"][0]["arguments"])), {"a", "b"})

    def test_calls_in_free_text_follow_their_schema(self):
        # The model would name a city in its own words; the schema leaves it these.
        tool = {"type": "function", "function": {"name": "get_weather", "parameters": {
            "type": "object", "properties": {"city": {"enum": ["OSLO", "ROME"]}}, "required": ["city"]}}}
        body = user("What is the weather in Paris?", tools=[tool])
        message = self.ask("/v1/chat/completions", body)["choices"][0]["message"]
        self.assertIn(json.loads(message["tool_calls"][0]["function"]["arguments"])["city"], ("OSLO", "ROME"))
        body["tools"][0]["function"]["strict"] = False
        message = self.ask("/v1/chat/completions", body)["choices"][0]["message"]
        self.assertNotIn(json.loads(message["tool_calls"][0]["function"]["arguments"]).get("city"), ("OSLO", "ROME"))
        # What calls no tool is as it was.
        answer = self.ask("/v1/chat/completions", user("What is 12 + 30?", tools=[tool]))
        plain = self.ask("/v1/chat/completions", user("What is 12 + 30?", tools=[{
            "type": "function", "function": {**tool["function"], "strict": False}}]))
        self.assertEqual(answer["choices"][0]["message"], plain["choices"][0]["message"])

    def test_what_is_not_held_is_told(self):
        status, headers, body = self.server.raw("POST", "/v1/chat/completions", user("Hello", response_format={
            "type": "json_schema", "json_schema": {"name": "x", "schema": {
                "type": "object", "properties": {"a": {"type": "array", "maxItems": 1, "items": {"type": "boolean"},
                                                       "uniqueItems": True}}, "required": ["a"]}}}))
        self.assertEqual(status, 200, body)
        self.assertEqual(headers["Sluice-Relaxed"],
                         "response_format.json_schema.schema/properties/a: uniqueItems is not checked")
        self.assertNotIn("properties", self.server.log())

    def test_forms_and_free_answers_at_once(self):
        def ask(n):
            if n % 2:
                return self.ask("/v1/chat/completions", user("What is 12 + 30?"))["choices"][0]["message"]["content"]
            return self.ask("/completion", {"prompt": "A thing:", "json_schema": self.SCHEMA, "seed": n,
                                            "temperature": 1.5})["content"]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(24)))
        for n, text in enumerate(answers):
            if n % 2:
                self.assertEqual(text, "12 + 30 = 42")
            else:
                self.check(text)

    def median_seconds(self, body):
        times = []
        for n in range(5):
            # Nothing that was kept of the one before is to help.
            if "grammar" in body:
                body = {"grammar": body["grammar"] + f"\n# {time.monotonic()}"}
            else:
                body = {"json_schema": {**body["json_schema"], "title": f"{time.monotonic()}"}}
            start = time.monotonic()
            status, answer = self.server.post("/completion", {"prompt": "A", "max_tokens": 2, **body})
            times.append(time.monotonic() - start)
            self.assertIn(status, (200, 400), answer)
            if status == 400:
                self.assertIn(answer["error"]["param"], ("json_schema", "grammar"), answer)
        return statistics.median(times)

    def test_bombs(self):
        nested = {"type": "integer"}
        for _ in range(25):
            nested = {"anyOf": [nested, {"type": "array", "items": nested}]} if _ < 8 else {"items": nested}
        bodies = [{"json_schema": {"enum": [f"value {n}" for n in range(50_000)]}},
                  {"json_schema": {"type": "string", "minLength": 65536, "maxLength": 2 ** 31 - 1}},
                  {"json_schema": {"$ref": "#"}},
                  {"json_schema": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}},
                  {"json_schema": nested},
                  {"json_schema": {"pattern": "(" * 10_000}},
                  {"json_schema": {"properties": {"a": {"type": 7}}}},
                  {"grammar": "root ::= " + "(" * 1_000_000},
                  {"grammar": 'root ::= "a"{1,1000000000}'},
                  {"grammar": 'root ::= root "a" | "b"'},
                  {"grammar": "root ::= x"}]
        for n, body in enumerate(bodies):
            with self.subTest(str(body)[:60]):
                # Others may use the machine: the best of three. The first one is answered: its 50,000 values are compiled.
                self.assertLess(min(self.median_seconds(body) for _ in range(3)), 0.5 if n == 0 else 0.1)
        self.assertEqual(self.ask("/v1/chat/completions", user("What is 12 + 30?"))
                         ["choices"][0]["message"]["content"], "12 + 30 = 42")


if __name__ == "__main__":
    unittest.main()
