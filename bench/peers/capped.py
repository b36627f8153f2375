#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model larger than the memory it may use: Sluice and llama.cpp under the same limits, a cold page cache before each run.

    sudo python3 bench/peers/capped.py -m MODEL.gguf -t 2 --shares 25,50,75,120

For each share of the file's size a control group of that size without swap: ours and then the peer's (mapped file, no
repacked weights, which would be killed), after a warm-up as llama-bench does it, or with --cold without one. Then ours alone
against the limit that the machine sets: the larger of the disk's time (bytes that were read, at the rate that this disk reaches
with such reads, measured anew at the start of that very run) and the computation's time (the speed without a limit). From 100 %
on the speed without a limit is the limit. Flags of peers.py that are not listed here have its defaults.

A virtual machine gets its memory from the host at the first touch, which can be slower than a disk; to measure without that,
touch all of it once before.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import install
import memory_limit
import peers


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=pathlib.Path, required=True)
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--shares", default="25,50,75,120", help="limits in percent of the file's size (25,50,75,120)")
    parser.add_argument("--tests", default="pp512,tg64", help='against the peer, where the file does not fit (pp512,tg64); "": none')
    parser.add_argument("--peer-tokens", type=int, default=8,
                        help="most tokens that the peer generates in a test: its speed does not depend on it, and it is slow (8)")
    parser.add_argument("--cold", action="store_true", help="the tests against the peer without a warm-up")
    parser.add_argument("--steady", default="pp512,tg128", help='ours alone (pp512,tg128); "": none')
    parser.add_argument("--rounds", type=int, default=1, help="of both; medians are shown (1)")
    parser.add_argument("--sluice", type=pathlib.Path, default=peers.ROOT / "build/release/bin/sluice")
    parser.add_argument("--folder", type=pathlib.Path, default=peers.ROOT / "build/peers", help="where the peer is installed")
    parser.add_argument("--json", type=pathlib.Path, help="write every sample to this file too")
    return parser.parse_args()


def names(text):
    return [name for name in text.split(",") if name]


class Study:
    def __init__(self, arguments):
        self.arguments = arguments
        self.bytes = sum(path.stat().st_size for path in peers.model_parts(arguments.model))
        self.ours = [str(arguments.sluice), "bench", "--no-warm-start", "--experts"]
        self.theirs = install.install(arguments.folder) + ["--repack", "0"]
        self.disks = pathlib.Path(os.environ["XDG_CACHE_HOME"]) / "sluice/disks.json"
        self.samples = []

    def runner(self, limit, warm, repetitions):
        options = argparse.Namespace(
            model=self.arguments.model, threads=self.arguments.threads, batch_size=2048, ubatch_size=512, cache_type_k="f16",
            cache_type_v="f16", flash_attn=None, repetitions=repetitions if warm else 1, no_warmup=not warm, memory=limit)
        return peers.Runner(options)

    def run(self, what, command, test, limit, warm):
        """The result, None when it was killed or failed: the reason is printed."""
        runner = self.runner(limit, warm, 3 if what == "ours" else 2)  # slots fill more slowly than the page cache
        self.disks.unlink(missing_ok=True)
        try:
            if not limit:
                memory_limit.drop_cache(runner.files)
            result = runner.run(command, peers.Test(test))
        except peers.Failure as failure:
            print(f"{what} {test}, limit {limit}: {failure}", file=sys.stderr, flush=True)
            result = None
        finally:
            if runner.limit:
                runner.limit.remove()
        rate = self.disk_rate() if what == "ours" and result and limit and limit < self.bytes else None
        self.samples.append({"what": what, "test": test, "limit": limit, "warm": warm, "result": result, "disk_rate": rate})
        rate = f"{result['rate']:.3f} t/s" if result else "ended"
        print(f"{what} {test}, limit {limit / 2**30 if limit else 0:.2f} GiB, {'steady' if warm else 'cold'}: {rate}",
              file=sys.stderr, flush=True)
        return result

    def rates(self, *arguments):
        results = [self.run(*arguments) for _ in range(self.arguments.rounds)]
        return [result["rate"] for result in results if result], results

    def peer_test(self, test):
        """A peer that faults page after page generates as slowly at its eighth token as at its hundredth."""
        parsed = peers.Test(test)
        most = self.arguments.peer_tokens
        return f"tg{most}" if not parsed.prompt and parsed.generate > most else test

    def disk_rate(self):
        """Bytes per second, as the program measured it for itself with reads of an expert's parts."""
        if not self.disks.is_file():
            raise peers.Failure(f"{self.disks}: a run under a limit measures the disk, but nothing is there")
        disks = json.loads(self.disks.read_text(encoding="utf-8"))["disks"]
        return max(disk["bytes_per_second"] for disk in disks)


def against_peer(study, share, limit):
    for test in names(study.arguments.tests):
        warm = not study.arguments.cold
        ours, _ = study.rates("ours", study.ours, test, limit, warm)
        theirs, _ = study.rates("peer", study.theirs, study.peer_test(test), limit, warm)
        cell = [f"{statistics.median(rates):.2f}" if rates else "killed" for rates in (ours, theirs)]
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.1f}" if ours and theirs else "-"
        yield f"| {share} % | {test} | {cell[0]} | {cell[1]} | {ratio} |"


def against_limit(study, share, limit, free):
    for test in names(study.arguments.steady):
        for _ in range(study.arguments.rounds):
            result = study.run("ours", study.ours, test, limit, True)
            if not result:
                yield f"| {share} % | {test} | killed | | | |"
                continue
            tokens = result["n_prompt"] + result["n_gen"]
            elapsed = tokens / result["rate"]
            disk_rate = study.samples[-1]["disk_rate"]
            disk = result["experts_bytes_read"] / disk_rate if disk_rate else 0
            compute = tokens / free[test]
            yield (f"| {share} % | {test} | {result['rate']:.2f} | {disk:.2f} | {compute:.2f} | {elapsed:.2f} | "
                   f"{max(disk, compute) / elapsed:.2f} |")


def main():
    arguments = parse_arguments()
    if not arguments.model.is_file():
        raise peers.Failure(f"-m {arguments.model}: no such file")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # nothing of earlier runs helps
        study = Study(arguments)
        limits = {int(share): int(study.bytes * int(share) / 100) for share in arguments.shares.split(",")}
        peer_rows, limit_rows = [], []
        for share, limit in limits.items():
            if share < 100:
                peer_rows += against_peer(study, share, limit)
        free = {}
        for test in names(arguments.steady):
            rates, _ = study.rates("ours", study.ours, test, None, True)
            free[test] = statistics.median(rates)
        for share, limit in limits.items():
            limit_rows += against_limit(study, share, limit, free)
        rates = [sample["disk_rate"] / 1e9 for sample in study.samples if sample["disk_rate"]]
        disk = f"; disk {min(rates):.2f} to {max(rates):.2f} GB/s" if rates else ""
        print(f"{arguments.model.name}, {study.bytes / 1e9:.1f} GB{disk}\n")
    kind = "cold" if arguments.cold else "after a warm-up"
    print(f"| limit | test, {kind} | Sluice t/s | peer t/s | ratio |\n|---|---|---:|---:|---:|", *peer_rows, sep="\n")
    print("\n| limit | test, steady | t/s | disk s | computing s | took s | of the limit |\n|---|---|---:|---:|---:|---:|---:|",
          *limit_rows, sep="\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(study.samples, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except (peers.Failure, install.Failure, memory_limit.Failure) as error:
        print(f"capped.py: {error}", file=sys.stderr)
        sys.exit(1)
    except subprocess.SubprocessError as error:
        print(f"capped.py: {error}", file=sys.stderr)
        sys.exit(1)
