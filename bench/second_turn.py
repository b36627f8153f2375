#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Time to the first token of the turns of a long conversation, as ratios to the first turn's.

python3 bench/second_turn.py -m MODEL.gguf [--tokens 4000] [--rounds 3] [-- FLAGS OF sluice run]

The first message is text of that many tokens. Then a short second message comes, another answer to it (/regen), and
a third message. Medians over the rounds."""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLUICE = os.environ.get("SLUICE", str(ROOT / "build/release/bin/sluice"))
# Thoughts are left out of earlier turns, so that the end of a prompt does not come again.
THINKING = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}")
TURNS = THINKING.replace("<think>\\n", "")


def text(model, tokens):
    """Whole words of prose, about that many tokens."""
    words = " ".join((ROOT / "LICENSE").read_text().split()).split() * 4
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        done = subprocess.run([SLUICE, "tokenize", "-m", model, "--stdin", "--ids"], capture_output=True, check=True,
                              input=" ".join(words[:middle]).encode())
        low, high = (middle, high) if len(json.loads(done.stdout)) <= tokens else (low, middle - 1)
    return " ".join(words[:low])


def conversation(model, lines, template, flags):
    done = subprocess.run([SLUICE, "run", "-m", model, "-n", "32", "--seed", "1", "--chat-template", template, *flags],
                          input="".join(line + "\n" for line in lines).encode(), capture_output=True, check=True)
    errors = done.stderr.decode()
    return [(int(read), float(seconds)) for read, seconds in
            re.findall(r"Prompt: (\d+) tokens.*First token: ([\d.]+) s", errors)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("flags", nargs="*")
    options = parser.parse_args()
    lines = [text(options.model, options.tokens), "Say it in one sentence, please.", "/regen", "Why?"]
    names = ["first turn", "second turn", "another answer", "third turn"]
    for title, template in (("turns rendered as they were", TURNS), ("thoughts left out of earlier turns", THINKING)):
        rounds = [conversation(options.model, lines, template, options.flags) for _ in range(options.rounds)]
        print(f"\n{title}\n| turn | tokens read | time to the first token | of the first turn's |\n|---|---|---|---|")
        for turn, name in enumerate(names):
            seconds = statistics.median(one[turn][1] for one in rounds)
            ratio = statistics.median(one[turn][1] / one[0][1] for one in rounds)
            print(f"| {name} | {rounds[0][turn][0]} | {seconds:.3f} s | 1/{1 / ratio:.0f} |" if ratio > 0 else
                  f"| {name} | {rounds[0][turn][0]} | {seconds:.3f} s | less than a millisecond |")


if __name__ == "__main__":
    main()
