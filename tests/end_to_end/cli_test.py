#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program as a black box: commands, messages, exit codes. SLUICE is the binary, SLUICE_ROOT the checkout."""
import json
import os
import pathlib
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

SLUICE = os.environ["SLUICE"]
ROOT = pathlib.Path(os.environ["SLUICE_ROOT"])
DRAFTS = str(ROOT / "tests/data/models/qwen3next-drafts.bf16.gguf")
TINY = str(ROOT / "tests/data/models/qwen3moe-tiny.Q4_K_M.gguf")
BF16 = str(ROOT / "tests/data/models/qwen3moe-tiny.bf16.gguf")


def run(*arguments, stdin=b"", env=None, **options):
    """Returns (exit code, stdout bytes, stderr text)."""
    done = subprocess.run([SLUICE, *arguments], input=stdin, capture_output=True, timeout=300,
                          env={**os.environ, **(env or {})}, check=False, **options)
    return done.returncode, done.stdout, done.stderr.decode()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def assert_error(self, code, *parts, result):
        """One line on standard error with all the parts, and the exit code."""
        got, out, err = result
        self.assertEqual(got, code, err)
        lines = err.strip().splitlines()
        self.assertEqual(len(lines), 1, err)
        for part in parts:
            self.assertIn(part, lines[0])
        return out


class Run(Case):
    def test_one_shot_streams_text_and_ends_with_timings(self):
        code, out, err = run("run", "-m", TINY, "-p", "Hello", "-n", "8", "-no-cnv", "--seed", "1")
        self.assertEqual(code, 0, err)
        self.assertTrue(out.startswith(b"Hello"))
        self.assertTrue(out.endswith(b"\n"))
        self.assertRegex(err.splitlines()[-1],
                         r"^\[ Prompt: \d+ tokens, [\d.]+ t/s \| Generation: 8 tokens, [\d.]+ t/s \| First token: [\d.]+ s \]$")
        out.decode("utf-8")  # never half a character

    def test_same_seed_same_text_other_seed_other_text(self):
        texts = [run("run", "-m", TINY, "-p", "Once", "-n", "12", "-no-cnv", "--seed", seed)[1] for seed in "112"]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_threads_and_batches_do_not_change_the_text(self):
        base = ["run", "-m", TINY, "-p", "The licensee may copy and distribute the program", "-n", "12", "-no-cnv",
                "--temp", "0"]
        expected = run(*base)[1]
        self.assertEqual(run(*base, "-t", "1")[1], expected)
        self.assertEqual(run(*base, "-ub", "3")[1], expected)

    def test_prompt_from_file_and_standard_input(self):
        path = self.folder / "prompt"
        path.write_text("Hello")
        expected = run("run", "-m", TINY, "-p", "Hello", "-n", "4", "-no-cnv", "--temp", "0")[1]
        self.assertEqual(run("run", "-m", TINY, "-f", str(path), "-n", "4", "-no-cnv", "--temp", "0")[1], expected)
        self.assertEqual(run("run", "-m", TINY, "-f", "-", "-n", "4", "-no-cnv", "--temp", "0", stdin=b"Hello")[1],
                         expected)

    def test_alias_of_the_container_scripts(self):
        self.assertEqual(run("--run", "-m", TINY, "-p", "Hello", "-n", "1", "-no-cnv")[0], 0)

    def test_flags_of_llama_cpp_without_a_meaning_warn_once(self):
        code, _, err = run("run", "-m", TINY, "-p", "Hello", "-n", "1", "-no-cnv", "-ngl", "99", "-ngl", "98",
                           "--numa", "distribute", "--mlock", "-fa", "on", "--show-timings=off")
        self.assertEqual(code, 0, err)
        self.assertEqual(len(err.splitlines()), 3, err)
        for flag in ("-ngl", "--numa", "--mlock"):
            self.assertEqual(err.count(flag + " "), 1)

    def test_environment(self):
        env = {"LLAMA_ARG_MODEL": TINY, "LLAMA_ARG_N_PREDICT": "2"}
        code, _, err = run("run", "-p", "Hello", "-no-cnv", env=env)
        self.assertEqual(code, 0, err)
        self.assertIn("Generation: 2 tokens", err)

    def test_interrupt_stops_the_answer_and_keeps_what_came(self):
        process = subprocess.Popen([SLUICE, "run", "-m", TINY, "-p", "Hello", "-no-cnv", "--ignore-eos"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(process.stdout.read(10))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        self.assertIn(b"stopped on request", err)

    def test_closed_pipe_ends_the_program(self):
        process = subprocess.Popen([SLUICE, "run", "-m", TINY, "-p", "Hello", "-no-cnv", "--ignore-eos"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(10)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 1)
        self.assertIn(b"standard output", process.stderr.read())
        process.stderr.close()

    def test_full_disk_for_output(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([SLUICE, "run", "-m", TINY, "-p", "Hello", "-n", "4", "-no-cnv"], stdout=full,
                                  stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)


class Timeline(Case):
    def test_is_recorded_and_drawn(self):
        path, one, other = (self.folder / name for name in ("timeline", "residency.svg", "token.svg"))
        code, _, err = run("run", "-m", TINY, "-p", "Hello", "-n", "8", "-no-cnv", "--temp", "0", "--timeline", str(path))
        self.assertEqual(code, 0, err)
        lines = path.read_text().splitlines()
        self.assertRegex(lines[0], r"^sluice-timeline 1 \d+ \d+ \d+$")
        self.assertGreater(sum(line.startswith("r ") for line in lines), 8)
        draw = [sys.executable, str(ROOT / "tools/draw_experts.py")]
        subprocess.run([*draw, str(path), "--residency", str(one), "--token", str(other)], check=True)
        for picture in (one, other):
            self.assertEqual(xml.etree.ElementTree.parse(picture).getroot().tag, "{http://www.w3.org/2000/svg}svg")
        path.write_text("\n".join(lines[:3] + ["r 1 2"]))
        done = subprocess.run([*draw, str(path), "--token", str(other)], capture_output=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"timeline:4:", done.stderr)

    def test_that_cannot_be_written(self):
        result = run("run", "-m", TINY, "-p", "Hello", "-n", "2", "-no-cnv", "--show-timings=off", "--timeline",
                     str(self.folder / "no/such"))
        self.assert_error(1, "no/such", "timeline", result=result)


class BadInput(Case):
    def test_usage(self):
        self.assertEqual(run()[0], 2)
        self.assert_error(2, "frobnicate", "help", result=run("frobnicate"))
        self.assert_error(2, "--frobnicate", "--help", result=run("run", "--frobnicate"))
        self.assert_error(2, "-m", result=run("run", "-p", "x"))
        self.assert_error(2, "needs a value", result=run("run", "-m"))
        self.assert_error(2, "-t 0", "at least 1", result=run("run", "-m", TINY, "-p", "x", "-t", "0"))
        self.assert_error(2, "-n lots", "whole number", result=run("run", "-m", TINY, "-p", "x", "-n", "lots"))
        self.assert_error(2, "prompt is empty", result=run("run", "-m", TINY, "-p", ""))
        self.assert_error(2, "--isa", "scalar", result=run("run", "-m", TINY, "-p", "x", "--isa", "mmx"))
        self.assert_error(2, "-ctk q9_9", "q8_0", result=run("run", "-m", TINY, "-p", "x", "-ctk", "q9_9"))
        self.assert_error(2, "--top-p 2", "from 0 to 1", result=run("run", "-m", TINY, "-p", "x", "--top-p", "2"))

        self.assert_error(2, "--spec-type eagle3", "draft-mtp",
                          result=run("run", "-m", TINY, "-p", "x", "--spec-type", "eagle3"))
        self.assert_error(2, "--spec-draft-n-max 8", "7",
                          result=run("run", "-m", TINY, "-p", "x", "--spec-draft-n-max", "8"))

    def test_tokens_guessed_ahead(self):
        arguments = ("-no-cnv", "-n", "20", "-p", "Hello", "--temp", "0", "--ignore-eos")
        code, plain, err = run("run", "-m", DRAFTS, *arguments, "--spec-type", "none")
        self.assertEqual(code, 0, err)
        self.assertNotIn("Guessed", err)
        trace = str(self.folder / "trace")
        code, text, err = run("run", "-m", DRAFTS, *arguments, "--trace", trace)
        self.assertEqual((code, text), (0, plain), err)
        self.assertRegex(err, r"Guessed ahead: \d+ tokens, \d+ right")
        self.assertEqual(run("replay", trace)[0], 0)
        self.assertIn("multi-token prediction", run("inspect", DRAFTS)[1].decode())
        self.assertNotIn("multi-token prediction", run("inspect", TINY)[1].decode())
        for flags, told in (((), 0), (("--spec-type", "draft-mtp"), 1)):
            code, _, err = run("run", "-m", TINY, *arguments, *flags)
            self.assertEqual((code, err.count("no block for multi-token prediction")), (0, told), err)

    def test_missing_and_foreign_files(self):
        self.assert_error(1, "nowhere.gguf", result=run("run", "-m", "nowhere.gguf", "-p", "x"))
        self.assert_error(1, str(self.folder), result=run("run", "-m", str(self.folder), "-p", "x"))
        path = self.folder / "page.gguf"
        path.write_bytes(b"<!DOCTYPE html><html><body>404 Not Found</body></html>" * 10)
        self.assert_error(1, "page.gguf", "GGUF", result=run("run", "-m", str(path), "-p", "x"))
        path.write_bytes(b"")
        self.assert_error(1, "page.gguf", result=run("run", "-m", str(path), "-p", "x"))

    def test_truncated_download(self):
        path = self.folder / "part.gguf"
        path.write_bytes(pathlib.Path(TINY).read_bytes()[:-1000])
        self.assert_error(1, "part.gguf", "tensor", result=run("run", "-m", str(path), "-p", "x"))

    def test_unknown_architecture_and_type(self):
        raw = pathlib.Path(TINY).read_bytes()
        path = self.folder / "other.gguf"
        # Only the value of general.architecture; the keys keep their prefix.
        path.write_bytes(raw.replace(b"qwen3moe", b"qwen9moe", 1))
        self.assert_error(1, "other.gguf", "qwen9moe", "qwen3moe", result=run("run", "-m", str(path), "-p", "x"))
        at = raw.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 16
        path.write_bytes(raw[:at] + struct.pack("<I", 19) + raw[at + 4:])
        self.assert_error(1, "other.gguf", "attn_q", "IQ1_S", result=run("run", "-m", str(path), "-p", "x"))

    def test_prompt_longer_than_the_context(self):
        self.assert_error(1, "positions", "-c", result=run("run", "-m", TINY, "-p", "word " * 100, "-c", "16", "-no-cnv",
                                                           "--no-display-prompt"))

    def test_context_beyond_the_model(self):
        self.assert_error(2, "-c 5000", "4096", "yarn", result=run("run", "-m", TINY, "-p", "x", "-c", "5000"))
        code, _, err = run("run", "-m", TINY, "-p", "x", "-c", "5000", "-n", "1", "-no-cnv", "--rope-scaling", "yarn",
                           "--rope-scale", "2")
        self.assertEqual(code, 0, err)
        self.assertIn("warning: a context of 5000 positions; " + TINY + " was trained for 4096", err)
        _, _, err = run("run", "-m", TINY, "-p", "x", "-c", "4096", "-n", "1", "-no-cnv", "--rope-scaling", "yarn",
                        "--rope-scale", "2")
        self.assertNotIn("warning", err)

    def test_invalid_utf8(self):
        code, out, err = run("run", "-m", TINY, "-f", "-", "-n", "2", "-no-cnv", stdin=b"caf\xe9 \xff\xfe ok")
        self.assertEqual(code, 0, err)
        code, out, err = run("tokenize", "-m", TINY, "--stdin", "--ids", stdin=b"\xff")
        self.assertEqual((code, out), run("tokenize", "-m", TINY, "--stdin", "--ids", stdin="\ufffd".encode())[:2])

    def test_no_memory_for_the_cache(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
        code, _, err = run("run", "-m", TINY, "-p", "x", "-c", "4000000000", "--rope-scaling", "linear", "--rope-scale",
                           "1000000", "-no-cnv", preexec_fn=limit)
        self.assertEqual(code, 1, err)
        self.assertIn("-c", err)


class Chat(Case):
    TEMPLATE = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

    def chat(self, *lines, more=()):
        return run("run", "-m", TINY, "--chat-template", self.TEMPLATE, "-n", "6", "--seed", "3", *more,
                   stdin="".join(line + "\n" for line in lines).encode())

    def test_history_clear_regen_exit(self):
        code, out, err = self.chat("first", "second", "/exit", "never")
        self.assertEqual(code, 0, err)
        timings = re.findall(r"Prompt: (\d+) tokens", err)
        self.assertEqual(len(timings), 2)
        # The second turn reads only what is new.
        self.assertLess(int(timings[1]), 40)

        _, alone, _ = self.chat("again")
        _, cleared, _ = self.chat("first", "/clear", "again")
        self.assertTrue(cleared.endswith(alone), "a cleared conversation must answer like a fresh one")

        _, out, err = self.chat("first", "/regen")
        self.assertEqual(len(re.findall(r"Generation", err)), 2)
        one, two = out[: len(out) // 2], out[len(out) // 2:]
        self.assertNotEqual(one, two)

    def test_regen_without_an_answer(self):
        code, _, err = self.chat("/regen", "/exit")
        self.assertEqual(code, 0)
        self.assertIn("no answer", err)

    def test_system_prompt_and_single_turn(self):
        _, _, with_system = self.chat("hi", more=["-sys", "Be brief.", "-st"])
        _, _, without = self.chat("hi", more=["-st"])
        tokens = [int(re.search(r"Prompt: (\d+)", text)[1]) for text in (with_system, without)]
        self.assertGreater(tokens[0], tokens[1])

    def test_message_that_does_not_fit_is_an_error_in_a_pipe(self):
        code, _, err = self.chat("word " * 200, more=["-c", "64"])
        self.assertEqual(code, 1)
        self.assertIn("positions", err)

    def test_terminal(self):
        """A pseudo terminal: Ctrl-C stops the answer and not the program."""
        import pty  # pylint: disable=import-outside-toplevel
        try:
            pid, terminal = pty.fork()
        except OSError as error:  # a bare root without /dev/pts
            self.skipTest(str(error))
        if pid == 0:
            os.execv(SLUICE, [SLUICE, "run", "-m", TINY, "--chat-template", self.TEMPLATE, "--ignore-eos", "--temp", "0"])
        output = b""

        def wait_for(pattern, seconds=60):
            nonlocal output
            end = time.monotonic() + seconds
            while not re.search(pattern, output):
                self.assertLess(time.monotonic(), end, f"{pattern} did not come: {output!r}")
                try:
                    output += os.read(terminal, 4096)
                except OSError:
                    break
            self.assertRegex(output, pattern)
            output = b""

        wait_for(rb"> ")
        os.write(terminal, b"hello\n")
        wait_for(rb"hello\r\n[^\r]{8}")
        os.write(terminal, b"\x03")
        wait_for(rb"stopped on request(.|\n)*> ")
        os.write(terminal, b"/exit\n")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(terminal)


class Tools(Case):
    def test_inspect(self):
        code, out, err = run("inspect", "-m", TINY, "--tensors")
        self.assertEqual(code, 0, err)
        text = out.decode()
        for part in ("qwen3moe", "8 per layer, 2 used", "Q4_K", "read per token", "general.architecture",
                     "blk.0.ffn_gate_exps.weight"):
            self.assertIn(part, text)
        self.assertEqual(run("inspect", TINY)[0], 0)

    def test_tokenize_and_back(self):
        text = "Hello, 世界! 🙂\n\tx = 1".encode()
        code, out, err = run("tokenize", "-m", TINY, "--stdin", "--ids", stdin=text)
        self.assertEqual(code, 0, err)
        ids = json.loads(out)
        self.assertEqual(run("detokenize", "-m", TINY, "--ids", " ".join(map(str, ids)))[1], text)
        self.assertEqual(run("detokenize", "-m", TINY, "--stdin", stdin=out)[1], text)
        self.assert_error(2, "frog", result=run("detokenize", "-m", TINY, "--ids", "1 frog"))
        self.assertEqual(json.loads(run("tokenize", "-m", TINY, "--stdin", "--ids", stdin=b"")[1]), [])

    def test_special_tokens_are_parsed_unless_told_otherwise(self):
        ids = json.loads(run("tokenize", "-m", TINY, "-p", "<|im_end|>", "--ids")[1])
        self.assertEqual(len(ids), 1)
        self.assertGreater(len(json.loads(run("tokenize", "-m", TINY, "-p", "<|im_end|>", "--ids",
                                              "--no-parse-special")[1])), 3)

    def test_eval_logits(self):
        reference = json.loads((ROOT / "tests/data/models/qwen3moe-tiny.json").read_text())
        tokens = reference["cases"]["en"]["tokens"]
        tokens_file, out_file = self.folder / "tokens", self.folder / "logits"
        tokens_file.write_text(" ".join(map(str, tokens)))
        code, _, err = run("eval", "logits", "-m", BF16, "--tokens-file", str(tokens_file), "--out", str(out_file), "-ctk",
                           "f32", "-ctv", "f32", "-t", "2")
        self.assertEqual(code, 0, err)
        raw = out_file.read_bytes()
        self.assertEqual(len(raw), len(tokens) * 2048 * 4)
        last = struct.unpack("<2048f", raw[-2048 * 4:])
        self.assertEqual(last.index(max(last)), reference["cases"]["en"]["greedy"][0])

        self.assert_error(1, "No space left", result=run("eval", "logits", "-m", TINY, "--tokens-file",
                                                         str(tokens_file), "--out", "/dev/full"))
        self.assert_error(1, "/nowhere/x", result=run("eval", "logits", "-m", TINY, "--tokens-file", str(tokens_file),
                                                      "--out", "/nowhere/x"))
        tokens_file.write_text("1 2 99999")
        self.assert_error(2, "99999", "2048", result=run("eval", "logits", "-m", TINY, "--tokens-file", str(tokens_file),
                                                         "--out", str(out_file)))
        tokens_file.write_text("1 two")
        self.assert_error(2, "two", result=run("eval", "logits", "-m", TINY, "--tokens-file", str(tokens_file), "--out",
                                               str(out_file)))

    def test_eval_perplexity(self):
        path = self.folder / "text"
        path.write_text("The quick brown fox jumps over the lazy dog. " * 40)
        code, out, err = run("eval", "perplexity", "-m", TINY, "-f", str(path), "-c", "64")
        self.assertEqual(code, 0, err)
        self.assertRegex(out.decode(), r"^Final estimate: PPL = [\d.]+ \+/- [\d.]+")
        path.write_text("short")
        self.assert_error(2, "tokens", result=run("eval", "perplexity", "-m", TINY, "-f", str(path)))

    def test_synth_run_trace_and_replay(self):
        model, trace = str(self.folder / "m.gguf"), str(self.folder / "trace")
        small = ("--layers", "2", "--vocabulary", "2048", "--embedding", "512", "--experts", "16", "--expert-ffn", "32")
        code, out, err = run("synth", "qwen3-30b-a3b", model, *small, "--quant", "Q8_0")
        self.assertEqual(code, 0, err)
        self.assertIn(b"MiB of tensors", out)
        code, out, err = run("run", "-m", model, "-p", "hello", "-n", "16", "--seed", "1", "--trace", trace)
        self.assertEqual(code, 0, err)
        self.assertIn("Generation: 16 tokens", err)
        code, out, err = run("replay", trace, "--percent", "50,100", "--from", "1", "--policy", "all,lru-per-layer")
        self.assertEqual(code, 0, err)
        lines = out.decode().splitlines()
        # 15 steps after the prompt, 2 layers, 8 experts.
        self.assertEqual(lines[0], f"2 layers of 16 experts, 16 steps; asked for by tokens {15 * 2 * 8}, by prompts 0")
        rows = [line.split() for line in lines[2:]]
        hits = {(row[0], row[3]): float(row[4]) for row in rows}
        for policy in ("lru", "lru-scan", "slru", "2q", "lfru", "lru-per-layer"):
            self.assertLess(hits["50.0", policy], hits["100.0", policy])
            self.assertLessEqual(hits["50.0", policy], hits["50.0", "optimum"])
        code, out, err = run("replay", trace, "-m", model, "--ram", "1M,1G", "--policy", "lru")
        self.assertEqual(code, 0, err)
        read = [line.split()[-2:] for line in out.decode().splitlines() if " lru " in line]
        self.assertEqual([unit for _, unit in read], ["MiB", "MiB"])
        self.assertGreater(float(read[0][0]), float(read[1][0]))
        code, out, err = run("replay", trace, "--slots", "32")
        self.assertIn(b"32 slots", out)
        code, out, err = run("replay", trace, "--policy", "static", "--chosen-on", trace, "--percent", "100")
        self.assertRegex(out.decode(), r"static +100\.0")

    def test_synth_and_replay_say_what_is_wrong(self):
        model = str(self.folder / "m.gguf")
        self.assert_error(2, "qwen9", "qwen3-30b-a3b", result=run("synth", "qwen9", model))
        self.assert_error(2, "SHAPE OUT.gguf", result=run("synth"))
        self.assert_error(2, "--quant", "Q9", "Q4_K_M", result=run("synth", "qwen3-30b-a3b", model, "--quant", "Q9"))
        self.assert_error(2, "--layers", result=run("synth", "qwen3-30b-a3b", model, "--layers", "0"))
        self.assert_error(2, "--embedding", "512",
                          result=run("synth", "qwen3-30b-a3b", model, "--embedding", "128"))
        self.assert_error(1, "no/where/m.gguf", result=run("synth", "qwen3-30b-a3b", str(self.folder / "no/where/m.gguf")))
        self.assertEqual(list(self.folder.iterdir()), [])
        self.assert_error(2, "TRACE", result=run("replay"))
        self.assert_error(2, "--policy", "fifo", "lfru", result=run("replay", "x", "--policy", "lru,fifo"))
        self.assert_error(2, "--ram", "-m", result=run("replay", "x", "--ram", "1G"))
        self.assert_error(2, "--ram", "1Q", result=run("replay", "x", "--ram", "1Q"))
        self.assert_error(2, "--percent", "--slots", result=run("replay", "x", "--percent", "5", "--slots", "5"))
        self.assert_error(2, "--percent", result=run("replay", "x", "--policy", "static", "--slots", "5"))
        self.assert_error(2, "--chosen-on", result=run("replay", "x", "--chosen-on", "y"))
        self.assert_error(1, "none", result=run("replay", str(self.folder / "none")))
        self.assert_error(1, "no trace", "--trace", result=run("replay", TINY))
        self.assert_error(1, "gone/trace", result=run("run", "-m", TINY, "-p", "x", "--trace", "/gone/trace"))

    def test_quantize(self):
        target = self.folder / "q8.gguf"
        code, _, err = run("quantize", BF16, str(target), "Q8_0")
        self.assertEqual(code, 0, err)
        self.assertIn("Q8_0", run("inspect", str(target))[1].decode())
        self.assertEqual(run("run", "-m", str(target), "-p", "Hello", "-n", "2", "-no-cnv")[0], 0)
        self.assert_error(2, "Q9", result=run("quantize", BF16, str(target), "Q9"))

    def test_help_and_version(self):
        for arguments in (["help"], ["--version"], ["run", "--help"], ["tokenize", "-h"]):
            code, out, err = run(*arguments)
            self.assertEqual((code, err), (0, ""))
            self.assertTrue(out)
        self.assertIn(b"--ctx-size", run("run", "--help")[1])



class Bench(Case):
    MODEL = str(ROOT / "models/sluice-tiny.gguf")
    QUICK = ["bench", "-m", MODEL, "-p", "4", "-n", "2", "-r", "2", "-t", "2"]

    def test_table(self):
        code, out, err = run(*self.QUICK, "-pg", "2,1", "-d", "0,8", "-fa", "1")
        self.assertEqual(code, 0, err)
        lines = out.decode().splitlines()
        self.assertEqual(lines[0], "| model                          |       size |     params | backend    | threads |"
                                   "  fa |            test |                  t/s |")
        tests = ["pp4", "tg2", "pp2+tg1", "pp4 @ d8", "tg2 @ d8", "pp2+tg1 @ d8"]
        for line, test in zip(lines[2:8], tests, strict=True):
            self.assertEqual(len(line), len(lines[0]))
            self.assertRegex(line, r"^\| qwen3moe \?B Q8_0               \|  14.85 MiB \|    14.58 M \| CPU        \|"
                                   rf"       2 \|   1 \| {re.escape(test.rjust(15))} \| +\d+\.\d\d ± \d+\.\d\d \|$")
        self.assertEqual(lines[8], "")
        self.assertRegex(lines[9], r"^build: \w+ \(\d+\)$")
        self.assertEqual(len(lines), 10)

    def test_json_to_both_streams(self):
        code, out, err = run(*self.QUICK, "-o", "json", "-oe", "jsonl", "--isa", "scalar", "-ctk", "q8_0")
        self.assertEqual(code, 0, err)
        results = json.loads(out)
        self.assertEqual([json.loads(line) for line in err.splitlines()], results)
        self.assertEqual([(r["n_prompt"], r["n_gen"], r["type_k"]) for r in results], [(4, 0, "q8_0"), (0, 2, "q8_0")])
        for result in results:
            self.assertEqual(result["backend_description"], "CPU, scalar, 2 threads")
            self.assertEqual(len(result["samples_ns"]), 2)
            tokens = result["n_prompt"] + result["n_gen"]
            rates = [1e9 * tokens / ns for ns in result["samples_ns"]]
            self.assertAlmostEqual(result["avg_ts"], sum(rates) / 2, delta=1e-5 * sum(rates))

    def test_csv_to_error_output_only(self):
        code, out, err = run(*self.QUICK, "-o", "none", "-oe", "csv")
        self.assertEqual((code, out), (0, b""), err)
        self.assertEqual([line.split(",")[0] for line in err.splitlines()], ["build_commit"] + [err.splitlines()[1][:9]] * 2)

    def test_progress(self):
        code, _, err = run(*self.QUICK, "--progress", "-n", "0", "-o", "none")
        self.assertEqual(code, 0, err)
        self.assertIn("sluice bench: benchmark 1/2: prompt run 2/2", err.splitlines())

    def test_errors(self):
        self.assert_error(2, "-m", result=run("bench"))
        self.assert_error(2, "-p 1..3", "1-8*2", result=run("bench", "-m", self.MODEL, "-p", "1..3"))
        self.assert_error(1, "/nowhere.gguf", result=run("bench", "-m", "/nowhere.gguf"))
        self.assert_error(2, "--isa sse9", result=run(*self.QUICK, "--isa", "sse9"))


if __name__ == "__main__":
    unittest.main()
