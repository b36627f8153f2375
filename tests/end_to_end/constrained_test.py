#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers held to grammars and JSON schemas through `sluice run`."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

SLUICE = os.environ["SLUICE"]
MODEL = str(pathlib.Path(os.environ["SLUICE_ROOT"]) / "models/sluice-tiny.gguf")

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "kind": {"enum": ["fruit", "tool", None]},
        "count": {"type": "integer", "minimum": 1, "maximum": 120},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
    },
    "required": ["name", "kind", "count", "tags"],
}


def run(*arguments, check=True):
    done = subprocess.run([SLUICE, "run", "-m", MODEL, *arguments], capture_output=True, timeout=300, check=False)
    if check and done.returncode:
        raise AssertionError(done.stderr.decode())
    return done


class Grammars(unittest.TestCase):
    def test_every_answer_follows_the_schema(self):
        for seed in range(12):
            out = run("-p", "Who are you?", "-j", json.dumps(SCHEMA), "--seed", str(seed), "--temp",
                      str(seed / 4)).stdout.decode()
            answer = json.loads(out)
            self.assertEqual(list(answer), list(SCHEMA["properties"]), out)
            self.assertLessEqual(len(answer["name"]), 20)
            self.assertIn(answer["kind"], SCHEMA["properties"]["kind"]["enum"])
            self.assertTrue(1 <= answer["count"] <= 120 and isinstance(answer["count"], int))
            self.assertLessEqual(len(answer["tags"]), 3)
            self.assertTrue(all(isinstance(tag, str) and len(tag) <= 8 for tag in answer["tags"]))

    def test_schema_from_a_file_with_guesses_ahead(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "schema.json"
            path.write_text(json.dumps(SCHEMA))
            out = subprocess.run([SLUICE, "run", "-m", MODEL.replace("tiny", "hybrid"), "-p", "What is 12 + 30?", "-jf",
                                  str(path), "--temp", "0"], capture_output=True, timeout=300, check=True).stdout
            self.assertEqual(list(json.loads(out)), list(SCHEMA["properties"]))

    def test_grammar(self):
        out = run("-p", "What is 12 + 30?", "--grammar", 'root ::= "The answer is " [0-9]{1,3} "."').stdout.decode()
        self.assertRegex(out, r"^The answer is [0-9]{1,3}\.\n$")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "answer.gbnf"
            path.write_text("root ::= word (\" \" word){2} # three words\nword ::= [a-z]{3,9}\n")
            out = run("-p", "Sort these words: pear, apple", "--grammar-file", str(path)).stdout.decode()
            self.assertTrue(re.fullmatch(r"[a-z]{3,9}( [a-z]{3,9}){2}\n", out), out)

    def test_relaxations_are_warned_about(self):
        done = run("-p", "Who are you?", "-j", '{"type": "array", "uniqueItems": true, "maxItems": 0}')
        self.assertEqual(json.loads(done.stdout), [])
        self.assertIn("uniqueItems is not checked", done.stderr.decode())

    def test_errors(self):
        for arguments, message in (
                (("--grammar", "root ::= x"), "line 1, column 10: rule 'x' is not defined"),
                (("-j", "{"), "JSON schema: this is no JSON"),
                (("-j", '{"type": 3}'), "/type must be a string"),
                (("-j", "{}", "--grammar", 'root ::= "a"'), "give one of --grammar and --json-schema"),
                (("--grammar-file", "/no/such/file"), "/no/such/file")):
            done = run("-p", "Hello", *arguments, check=False)
            self.assertIn(done.returncode, (1, 2), arguments)
            self.assertIn(message, done.stderr.decode())
            self.assertEqual(done.stdout.decode(), "")


if __name__ == "__main__":
    unittest.main()
