#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far `sluice plan` is off: predicts and measures a list of cases on this machine, and prints a table.

Every case is predicted before anything of it was run, with nothing learned; --learn keeps what the runs teach from one
case to the next. Synthetic models are written to --models (they stay there) unless they exist."""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

MIB = 1 << 20

# name: arguments of `sluice synth`, or a file below the checkout
MODELS = {
    "30B/4": ["qwen3-30b-a3b", "--layers", "4"],
    "80B/4": ["qwen3-next-80b-a3b", "--layers", "4"],
    "30B/3 Q2_K": ["qwen3-30b-a3b", "--layers", "3", "--quant", "Q2_K"],
    "30B/2 Q8_0": ["qwen3-30b-a3b", "--layers", "2", "--quant", "Q8_0"],
    "30B/3 Q6_K": ["qwen3-30b-a3b", "--layers", "3", "--quant", "Q6_K"],
    "30B/3 Q3_K_M": ["qwen3-30b-a3b", "--layers", "3", "--quant", "Q3_K_M"],
    "30B/2 BF16": ["qwen3-30b-a3b", "--layers", "2", "--quant", "BF16"],
    "80B/4 Q2_K": ["qwen3-next-80b-a3b", "--layers", "4", "--quant", "Q2_K"],
    "tiny": "models/sluice-tiny.gguf",
    "hybrid": "models/sluice-hybrid.gguf",
}

# (model, flags of both, tests): what is predicted with -d comes behind so many tokens.
ALL = ("pp512", "tg128")
CASES = [
    ("30B/4", [], ALL),
    ("30B/4", [], ("pp2048",)),
    ("30B/4", ["-ub", "2048"], ("pp2048",)),
    ("30B/4", ["-d", "4096"], ALL),
    ("30B/4", ["-d", "4096", "-ctk", "q8_0", "-ctv", "q8_0"], ("tg128",)),
    ("30B/4", ["-t", "1"], ALL),
    ("30B/4", ["--ram", "1500M", "-lm", "dio"], ALL),
    ("30B/4", ["--ram", "1100M", "-lm", "dio"], ALL),
    ("30B/4", ["--ram", "800M", "-lm", "dio"], ALL),
    ("80B/4", [], ALL),
    ("80B/4", ["-d", "4096"], ALL),
    ("80B/4", ["--ram", "3G", "-lm", "dio"], ALL),
    ("80B/4", ["--ram", "2G", "-lm", "dio"], ALL),
    ("80B/4", ["--ram", "1500M", "-lm", "dio"], ALL),
    ("30B/3 Q2_K", [], ALL),
    ("30B/2 Q8_0", [], ALL),
    ("30B/3 Q6_K", [], ALL),
    ("30B/3 Q3_K_M", [], ALL),
    ("30B/2 BF16", [], ALL),
    ("80B/4 Q2_K", [], ALL),
    ("80B/4 Q2_K", ["--ram", "1G", "-lm", "dio"], ALL),
    ("tiny", [], ALL),
    ("hybrid", [], ALL),
]
TOKENS = {"pp512": (512, 0), "pp2048": (2048, 0), "tg128": (0, 128)}


def run(command, environment):
    """Standard output, and the peak of resident bytes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        out.seek(0)
        err.seek(0)
        if os.waitstatus_to_exitcode(status):
            sys.exit(f"{' '.join(command)}:\n{err.read().decode()}")
        return out.read().decode(), usage.ru_maxrss * 1024


def model_path(arguments, name, root):
    what = MODELS[name]
    if isinstance(what, str):
        return root / what
    path = arguments.models / (name.replace("/", "-").replace(" ", "-") + ".gguf")
    if not path.exists():
        arguments.models.mkdir(parents=True, exist_ok=True)
        subprocess.run([arguments.sluice, "synth", what[0], str(path), *what[1:]], check=True, capture_output=True)
    return path


def measure(arguments, case, root, cache):
    model, flags, tests = case
    path = str(model_path(arguments, model, root))
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    depth = int(flags[flags.index("-d") + 1]) if "-d" in flags else 0
    positions = depth + max(sum(TOKENS[test]) for test in tests)
    gpu = [] if "-ngl" in flags else ["-ngl", str(arguments.gpu_layers)]
    plan = json.loads(run([arguments.sluice, "plan", path, "--json", "-c", str(positions), "-ctxcp", "0", "--spec-type", "none",
                            *gpu, *flags], environment)[0])
    if not plan["fits"]:
        sys.exit(f"{model} {flags}: {plan['refusal']}")
    sizes = ["-p", ",".join(str(TOKENS[t][0]) for t in tests if TOKENS[t][0]) or "0",
             "-n", ",".join(str(TOKENS[t][1]) for t in tests if TOKENS[t][1]) or "0"]
    if "-ub" in flags:
        sizes += ["-b", flags[flags.index("-ub") + 1]]
    output, peak = run([arguments.sluice, "bench", "-m", path, "-o", "json", "--experts", "-r", str(arguments.repetitions), *gpu, *sizes,
                        *flags], environment)
    rows = []
    for test, result in zip(tests, json.loads(output)):
        tokens = result["n_prompt"] + result["n_gen"]
        measured = tokens * 1e9 / statistics.median(result["samples_ns"])
        rows.append({"model": model, "flags": flags, "test": test, "predicted": plan[test]["value"], "low": plan[test]["low"],
                     "high": plan[test]["high"], "measured": measured, "error": plan[test]["value"] / measured - 1,
                     "experts": {name: value for name, value in result.items() if name.startswith("experts_")}})
    rows[0] |= {"memory_predicted": plan["memory"]["total"], "memory_measured": peak}
    return rows


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def table(rows):
    lines = ["| model | flags | test | predicted | measured | error | memory, MiB | peak | over |", "|---|---|---|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        memory = "| | | |"
        if "memory_measured" in row:
            planned, peak = row["memory_predicted"], row["memory_measured"]
            memory = f"| {planned / MIB:.0f} | {peak / MIB:.0f} | {100 * (planned / peak - 1):+.1f} % |"
        lines.append(f"| {row['model']} | {' '.join(row['flags'])} | {row['test']} | {row['predicted']:.1f} | {row['measured']:.1f} "
                     f"| {100 * row['error']:+.0f} % {memory}")
    errors = [abs(row["error"]) for row in rows]
    inside = sum(row["low"] <= row["measured"] <= row["high"] for row in rows)
    over = [row["memory_predicted"] / row["memory_measured"] - 1 for row in rows if "memory_measured" in row]
    lines += ["", f"{len(rows)} cases: error of the speed median {100 * statistics.median(errors):.0f} %, 90th percentile "
              f"{100 * percentile(errors, 0.9):.0f} %, {inside} within their interval; memory {100 * min(over):+.1f} to "
              f"{100 * max(over):+.1f} %, median {100 * statistics.median(over):+.1f} %"]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sluice", default="build/release/bin/sluice")
    parser.add_argument("--models", type=pathlib.Path, default=pathlib.Path("build/prediction-models"))
    parser.add_argument("--cache", type=pathlib.Path, help="keep what is measured of the machine here; default: measured anew")
    parser.add_argument("--gpu-layers", default=0, help="-ngl of both (0)")
    parser.add_argument("--only", default="", help="cases FIRST-LAST, from 1")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--learn", action="store_true")
    parser.add_argument("--json", type=pathlib.Path, help="append the rows to this file, one a line")
    parser.add_argument("--table", type=pathlib.Path, help="measure nothing: the table of such a file")
    arguments = parser.parse_args()
    if arguments.table:
        print(table([json.loads(line) for line in arguments.table.read_text().splitlines()]))
        return
    root = pathlib.Path(__file__).resolve().parent.parent
    first, last = (int(n) for n in arguments.only.split("-")) if arguments.only else (1, len(CASES))
    cache = arguments.cache or pathlib.Path(tempfile.mkdtemp())
    rows = []
    try:
        for case in CASES[first - 1:last]:
            if not arguments.learn:
                (cache / "sluice/corrections.json").unlink(missing_ok=True)
            new = measure(arguments, case, root, cache)
            rows += new
            if arguments.json:
                with arguments.json.open("a") as out:
                    out.writelines(json.dumps(row) + "\n" for row in new)
            for row in new:
                print(f"{row['model']} {' '.join(row['flags'])} {row['test']}: predicted {row['predicted']:.1f}, "
                      f"measured {row['measured']:.1f}, {100 * row['error']:+.0f} %", file=sys.stderr, flush=True)
    finally:
        if not arguments.cache:
            shutil.rmtree(cache)
    print(table(rows))


if __name__ == "__main__":
    main()
