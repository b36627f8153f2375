#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time from starting the program to its first token, through the page cache and past it, from a cold cache and a warm one.

    python3 bench/first_token.py -m MODEL.gguf [-t 2] [--ram SIZE] [--rounds 5] [--modes none,dio,auto]

In each round every mode runs once cold and once warm, one after the other; before a cold run the file's pages are dropped,
before a warm one the file is read. The table shows medians, and the median of the rounds' ratios to the first mode.
"""
import argparse
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench/peers"))
import memory_limit  # noqa: E402


def warm(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def first_token(arguments, mode):
    command = [str(arguments.sluice), "run", "-m", str(arguments.model), "-f", "-", "-no-cnv", "-n", "1", "--temp", "0", "-c",
               "4096", "-t", str(arguments.threads), "-lm", mode, "--no-warm-start", "--no-show-timings"]
    if arguments.ram:
        command += ["--ram", arguments.ram]
    start = time.monotonic()
    done = subprocess.run(command, input=arguments.prompt.encode(), capture_output=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"first_token.py: {' '.join(command)}\n{done.stderr.decode()}")
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=pathlib.Path, required=True)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--ram")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--modes", default="none,dio,auto")
    parser.add_argument("--prompt", default="Once upon a time there was a river, and by the river a mill.")
    parser.add_argument("--sluice", type=pathlib.Path, default=ROOT / "build/release/bin/sluice")
    arguments = parser.parse_args()
    modes = arguments.modes.split(",")
    times = {(cache, mode): [] for cache in ("cold", "warm") for mode in modes}
    for _ in range(arguments.rounds):
        for cache, mode in times:
            if cache == "cold":
                memory_limit.drop_cache([arguments.model])
            else:
                warm(arguments.model)
            times[cache, mode].append(first_token(arguments, mode))
    print("| page cache | -lm | first token, s | of " + modes[0] + " |\n|---|---|---:|---:|")
    for (cache, mode), seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, times[cache, modes[0]])]
        print(f"| {cache} | {mode} | {statistics.median(seconds):.2f} | {statistics.median(ratios):.2f} |")


if __name__ == "__main__":
    try:
        main()
    except memory_limit.Failure as error:
        sys.exit(f"first_token.py: {error}")
