#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of Sluice and of llama.cpp on the same file, with the same threads and tests, one run after the other.

    python3 bench/peers/peers.py -m MODEL.gguf -t 2

llama.cpp's prebuilt libraries come from the npm package node-llama-cpp, installed below build/peers, and are driven by
llama_peer.c; --peer-command measures another llama-bench instead. Every sample is a process of its own: load, warm up,
fill the depth, then run the test --repetitions times, of which the last counts: in the first one a mapped file's pages
are still being mapped. In each round of a test ours comes first, then the peer's, and the ratio of the two is taken;
the table shows medians over the rounds, and the smallest and largest ratio. ttft30 is the time from the start of a process,
without a warm-up, to the end of a prompt of 30 tokens, as 1/s.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import time

import install
import memory_limit

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = "pp512,pp2048,tg64,tg64@d8192"


class Failure(Exception):
    """What went wrong and what to do, for people."""


class Test:
    """pp512, tg64, pp512+tg64, each with @dN for a depth; ttft30."""

    def __init__(self, text):
        first = re.fullmatch(r"ttft([1-9]\d*)", text)
        self.from_start = first is not None
        text = f"pp{first[1]}@d0" if first else text
        match = re.fullmatch(r"(?:pp(\d+))?\+?(?:tg(\d+))?(?:@d(\d+))?", text.replace(" ", ""))
        if not match or not (match[1] or match[2]):
            raise Failure(f'test "{text}": must be like pp512, tg64, pp512+tg64, tg64@d8192 or ttft30')
        self.prompt, self.generate, self.depth = (int(group or 0) for group in match.groups())
        self.has_depth = match[3] is not None

    def at(self, depth):
        other = Test(f"pp{self.prompt}+tg{self.generate}")
        other.depth = depth
        return other

    def name(self):
        if self.from_start:
            return f"ttft{self.prompt}"
        parts = [f"pp{self.prompt}"] * (self.prompt > 0) + [f"tg{self.generate}"] * (self.generate > 0)
        return "+".join(parts) + (f" @ d{self.depth}" if self.depth else "")

    def flags(self):
        if self.prompt and self.generate:
            flags = ["-p", "0", "-n", "0", "-pg", f"{self.prompt},{self.generate}"]
        else:
            flags = ["-p", str(self.prompt), "-n", str(self.generate)]
        return flags + (["-d", str(self.depth)] if self.depth else [])


def tests_of(arguments):
    depths = arguments.depth.split(",") if arguments.depth else ["0"]
    if not all(text.isdecimal() for text in depths):
        raise Failure(f"-d {arguments.depth}: must be a comma list of whole numbers")
    depths = [int(text) for text in depths]
    tests = []
    for text in arguments.tests.split(","):
        test = Test(text)
        tests += [test] if test.has_depth else [test.at(depth) for depth in depths]
    return tests


def model_parts(path):
    """All files of a split model; the page cache is dropped for each."""
    match = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", str(path))
    if not match:
        return [path]
    return [pathlib.Path(f"{match[1]}-{i:05d}-of-{match[2]}.gguf") for i in range(1, int(match[2]) + 1)]


class Runner:
    """Runs one command after the other, each under the memory limit when there is one."""

    def __init__(self, arguments):
        self.common = ["-m", str(arguments.model), "-t", str(arguments.threads), "-b", str(arguments.batch_size),
                       "-ub", str(arguments.ubatch_size), "-ctk", arguments.cache_type_k, "-ctv", arguments.cache_type_v,
                       "-o", "json"]
        if arguments.flash_attn is not None:
            self.common += ["-fa", arguments.flash_attn]
        self.repetitions = arguments.repetitions
        self.no_warmup = arguments.no_warmup
        self.files = model_parts(arguments.model)
        self.limit = memory_limit.Limit(arguments.memory) if arguments.memory else None

    def run(self, command, test):
        """The result's fields, with peak_bytes added."""
        command = command + self.common + test.flags()
        command += ["-r", "1" if test.from_start else str(self.repetitions)]
        command += ["--no-warmup"] * (self.no_warmup or test.from_start)
        if self.limit:
            memory_limit.drop_cache(self.files)
            self.limit.reset()
        start = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  preexec_fn=self.limit.enter if self.limit else None)
        except OSError as error:
            raise Failure(f"{command[0]}: {error.strerror}; is it not installed?") from error
        except subprocess.SubprocessError as error:
            raise Failure(f"--memory: cannot put {command[0]} under the limit: {error}") from error
        wall = time.monotonic() - start
        if done.returncode != 0:
            killed = " (killed: the memory limit is too small for it?)" if done.returncode == -9 else ""
            raise Failure(f"{shlex.join(command)}\nended with {done.returncode}{killed}\n{done.stderr.strip()[-2000:]}")
        out = done.stdout
        try:
            result = json.loads(out[out.index("["):])[-1]
            result["rate"] = (1 / wall if test.from_start else
                              1e9 * (test.prompt + test.generate) / result["samples_ns"][-1])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise Failure(f"{shlex.join(command)}\nprinted no llama-bench JSON: {out[:500]!r}") from error
        if self.limit:
            result["peak_bytes"] = self.limit.peak()
        return result


def measure(runner, ours, theirs, tests, rounds):
    results = []
    for test in tests:
        samples = []
        for number in range(rounds):
            pair = (runner.run(ours, test), runner.run(theirs, test))
            samples.append(pair)
            print(f"{test.name()}, round {number + 1}/{rounds}: {pair[0]['rate']:.2f} against {pair[1]['rate']:.2f} t/s",
                  file=sys.stderr, flush=True)
        ratios = [a["rate"] / b["rate"] for a, b in samples]
        results.append({
            "test": test.name(), "n_prompt": test.prompt, "n_gen": test.generate, "n_depth": test.depth,
            "sluice_ts": statistics.median(a["rate"] for a, _ in samples),
            "peer_ts": statistics.median(b["rate"] for _, b in samples),
            "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
            "sluice_samples_ts": [a["rate"] for a, _ in samples], "peer_samples_ts": [b["rate"] for _, b in samples],
            "sluice_peak_bytes": [a["peak_bytes"] for a, _ in samples if "peak_bytes" in a],
            "peer_peak_bytes": [b["peak_bytes"] for _, b in samples if "peak_bytes" in b],
            "last": samples[-1]})
    return results


def describe_peer(result):
    """llama_peer names itself and its CPU library; a llama-bench its build."""
    if "cpu_library" in result:
        return f"{result['engine']}, CPU library {result['cpu_library']}"
    return f"llama-bench, build {result.get('build_commit', '?')} ({result.get('build_number', '?')})"


def table(report):
    lines = [f"Model: {report['model_type']}, {report['model']}. Machine: {report['cpu']}, {report['threads']} threads"
             + (f", memory {report['memory']} bytes" if report["memory"] else "") + ".",
             f"Sluice: {report['sluice']}. Peer: {report['peer']}.",
             f"Medians of {report['rounds']} alternating rounds; ratio of tokens per second, Sluice to peer.", "",
             "| test | Sluice t/s | peer t/s | ratio | min..max |", "|---|---:|---:|---:|---|"]
    for row in report["tests"]:
        lines.append(f"| {row['test']} | {row['sluice_ts']:.2f} | {row['peer_ts']:.2f} | {row['ratio']:.2f} | "
                     f"{row['ratio_min']:.2f}..{row['ratio_max']:.2f} |")
    return "\n".join(lines)


def byte_count(text):
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text.upper())
    if not match:
        raise argparse.ArgumentTypeError(f'"{text}": must be a number of bytes, K, M, G or T (1024) may follow')
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=pathlib.Path, help="GGUF file; of a split one the first part")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tests", default=TESTS, help=f"comma list ({TESTS})")
    parser.add_argument("-d", "--depth", help="comma list of depths for the tests without @d")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-r", "--repetitions", type=int, default=2, help="in each process; the last one counts (2)")
    parser.add_argument("-b", "--batch-size", type=int, default=2048)
    parser.add_argument("-ub", "--ubatch-size", type=int, default=512)
    parser.add_argument("-ctk", "--cache-type-k", default="f16")
    parser.add_argument("-ctv", "--cache-type-v", default="f16")
    parser.add_argument("--no-warmup", action="store_true", help="as for llama-bench: the first run counts")
    parser.add_argument("-fa", "--flash-attn", choices=["0", "1"], help="the peer's own choice unless given")
    parser.add_argument("--isa", help="instruction set level of Sluice")
    parser.add_argument("--peer-isa", help="CPU library of llama.cpp: haswell, alderlake, icelake, zen4, ...; its own "
                                           "choice unless given")
    parser.add_argument("--peer-command", help="another llama-bench, with flags of its own")
    parser.add_argument("--sluice", type=pathlib.Path, default=ROOT / "build/release/bin/sluice")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/peers", help="where the peer is installed")
    parser.add_argument("--memory", type=byte_count, help="run each under this limit, the model's pages dropped before")
    parser.add_argument("--json", help="write everything to this file too (-: to standard output, instead of the table)")
    parser.add_argument("--install-only", action="store_true")
    return parser.parse_args()


def check(arguments):
    if arguments.model is None:
        raise Failure("no model: give a GGUF file with -m")
    if not arguments.model.is_file():
        raise Failure(f"-m {arguments.model}: no such file")
    if not os.access(arguments.sluice, os.X_OK):
        raise Failure(f"--sluice {arguments.sluice}: no such program; build it with: cmake --preset release && "
                      "cmake --build --preset release --target sluice")
    if min(arguments.rounds, arguments.repetitions, arguments.threads) < 1:
        raise Failure("--rounds, --repetitions and --threads must be at least 1")
    if arguments.peer_command and arguments.peer_isa:
        raise Failure("--peer-isa chooses among the prebuilt libraries; it says nothing to --peer-command")


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "CPU"


def main():
    arguments = parse_arguments()
    if arguments.install_only:
        install.install(arguments.folder)
        return
    check(arguments)
    tests = tests_of(arguments)
    if arguments.peer_command:
        theirs = shlex.split(arguments.peer_command)
    else:
        theirs = install.install(arguments.folder) + (["--cpu", arguments.peer_isa] if arguments.peer_isa else [])
        if arguments.memory:  # repacked weights lie in memory that cannot be dropped: the limit would kill it
            theirs += ["--repack", "0"]
    ours = [str(arguments.sluice), "bench"] + (["--isa", arguments.isa] if arguments.isa else [])
    runner = Runner(arguments)
    try:
        results = measure(runner, ours, theirs, tests, arguments.rounds)
    finally:
        if runner.limit:
            runner.limit.remove()
    mine, peer = results[-1]["last"]
    report = {"model": str(arguments.model), "model_type": mine["model_type"], "cpu": cpu_name(),
              "threads": arguments.threads, "memory": arguments.memory, "rounds": arguments.rounds,
              "sluice": f"{mine['engine']} {mine['build_commit']} ({mine['backend_description']})",
              "peer": describe_peer(peer),
              "tests": [{key: value for key, value in row.items() if key != "last"} for row in results]}
    if arguments.json:
        text = json.dumps(report, indent=2) + "\n"
        if arguments.json == "-":
            sys.stdout.write(text)
            return
        pathlib.Path(arguments.json).write_text(text, encoding="utf-8")
    print(table(report))


if __name__ == "__main__":
    try:
        main()
    except (Failure, install.Failure, memory_limit.Failure) as error:
        print(f"peers.py: {error}", file=sys.stderr)
        sys.exit(1)
