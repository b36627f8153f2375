#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what `sluice run --timeline FILE` recorded (src/residency/timeline.h has the format) as SVG.

    tools/draw_experts.py FILE --residency OUT.svg [--steps 60] [--layers 0,1,2,3]
    tools/draw_experts.py FILE --token OUT.svg [--step N]

--residency: every expert of the layers over the tokens: in memory or not, used, read because it was missing.
--token: one token layer by layer: what experts took, what all the rest took, and waiting for the disk. Without --step
the token whose time is the median.
"""
import argparse
import collections
import html
import sys

RESIDENT, HIT, MISS, REST, COMPUTE, WAIT, INK = ("#dfe7f1", "#2b6cb0", "#d1495b", "#b8c0cc", "#2b6cb0", "#d1495b",
                                                 "#24292f")
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


class Failure(Exception):
    """What went wrong and what to do, for people."""


Request = collections.namedtuple("Request", "step layer token begin end waited hits misses")


def numbers(text):
    return [] if text == "-" else [int(word) for word in text.split(",")]


def read(path):
    """(layers, experts, slots, events in their order: Request or (came, time, layer, expert))"""
    try:
        with open(path, encoding="ascii") as file:
            title = file.readline().split()
            if title[:2] != ["sluice-timeline", "1"] or len(title) != 5:
                raise Failure(f"{path}: not a timeline of version 1; record one with sluice run --timeline FILE")
            events = []
            for number, line in enumerate(file, 2):
                words = line.split()
                try:
                    if words[0] == "r":
                        step, layer, use, begin, end, waited, hits, misses = words[1:]
                        events.append(Request(int(step), int(layer), use == "t", int(begin), int(end), int(waited),
                                              numbers(hits), numbers(misses)))
                    elif words[0] in "+-":
                        events.append((words[0] == "+", *map(int, words[1:4])))
                    else:
                        raise ValueError
                except (ValueError, IndexError, TypeError) as error:
                    raise Failure(f"{path}:{number}: cannot be understood; record it again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {error}") from error
    layers, experts, slots = map(int, title[2:])
    return layers, experts, slots, events


def tokens_of(events):
    """Steps that are single tokens, in order."""
    kinds = {}
    for event in events:
        if isinstance(event, Request):
            kinds.setdefault(event.step, True)
            kinds[event.step] &= event.token
    return [step for step, token in sorted(kinds.items()) if token]


def text(x, y, content, size=12, anchor="start", colour=INK):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">'
            f'{html.escape(content)}</text>')


def page(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" {FONT}>\n'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n")


def legend(x, y, entries):
    parts = []
    for colour, label in entries:
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        parts.append(text(x + 17, y, label))
        x += 17 + 7 * len(label) + 22
    return parts


def boxes(cells, colour):
    """One path for all rectangles (x, y, width, height)."""
    return f'<path fill="{colour}" d="' + "".join(f"M{x:g} {y:g}h{w:g}v{h:g}h-{w:g}z" for x, y, w, h in cells) + '"/>'


def residency(data, steps, chosen):
    layers, experts, slots, events = data
    tokens = tokens_of(events)[:steps]
    if not tokens:
        raise Failure("no single tokens in the timeline: generate some with -n")
    column = {step: i for i, step in enumerate(tokens)}
    wide, left, top, gap = max(4, 720 // len(tokens)), 62, 54, 10
    tall = max(2, min(8, 540 // (experts * len(chosen))))
    thick = tall - 1 if tall > 3 else tall
    row = {}
    y = top
    for layer in chosen:
        for expert in range(experts):
            row[layer, expert] = y + tall * expert
        y += tall * experts + gap
    here, spans, hits, misses = {}, [], [], []
    now = 0  # column of the step under way

    def leave(key):
        since = here.pop(key, None)
        if since is not None and key in row and now > since:
            spans.append((left + wide * since, row[key], wide * (now - since), thick))

    for event in events:
        if isinstance(event, Request):
            if event.step > tokens[-1]:
                break
            if event.step not in column:
                continue
            now = column[event.step]
            for cells, ids in ((hits, event.hits), (misses, event.misses)):
                cells += [(left + wide * now, row[event.layer, e], wide - 1, thick) for e in ids
                          if (event.layer, e) in row]
        else:
            came, _, layer, expert = event
            if came:
                here.setdefault((layer, expert), now)
            else:
                leave((layer, expert))
    now = len(tokens)
    for key in list(here):
        leave(key)
    width, height = left + wide * len(tokens) + 20, y + 26
    total = layers * experts
    parts = [text(left, 20, f"{total} experts of {layers} layers, room for {slots} ({100 * slots / total:.0f} %): "
                  f"{len(tokens)} tokens", 14)]
    parts += legend(left, 42, ((RESIDENT, "in memory"), (HIT, "used, was there"), (MISS, "used, had to be read")))
    parts += [boxes(spans, RESIDENT), boxes(hits, HIT), boxes(misses, MISS)]
    for layer in chosen:
        parts.append(text(left - 8, row[layer, 0] + tall * experts / 2 + 4, f"layer {layer}", 12, "end"))
    for i in range(0, len(tokens), 10):
        parts.append(text(left + wide * i, y + 10, f"token {i}" if i == 0 else str(i), 11))
    return page(width, height, parts)


def token(data, step):
    events = [event for event in data[3] if isinstance(event, Request)]
    by_step = collections.defaultdict(list)
    for event in events:
        by_step[event.step].append(event)
    ends = {s: requests[-1].end for s, requests in by_step.items()}
    tokens = [s for s in tokens_of(events) if s - 1 in ends]
    if not tokens:
        raise Failure("no single tokens in the timeline: generate some with -n")
    lasts = {s: ends[s] - ends[s - 1] for s in tokens}
    if step is None:
        step = sorted(tokens, key=lambda s: lasts[s])[len(tokens) // 2]
    elif step not in lasts:
        raise Failure(f"--step {step}: not a single token; there are {tokens[0]} to {tokens[-1]}")
    start, span = ends[step - 1], lasts[step]
    left, top, bar, width = 62, 54, 14, 760
    scale = width / span
    parts, cells = [], {REST: [], COMPUTE: [], WAIT: []}
    before, totals = start, collections.Counter()
    for i, r in enumerate(by_step[step]):
        y = top + i * (bar + 4)
        compute = r.end - r.begin - r.waited
        # Waiting comes in pieces between products: drawn as one, behind them.
        for colour, begin, length in ((REST, before, r.begin - before), (COMPUTE, r.begin, compute),
                                      (WAIT, r.begin + compute, r.waited)):
            totals[colour] += length
            if length > 0:
                cells[colour].append((round(left + (begin - start) * scale, 2), y, round(length * scale, 2), bar))
        parts.append(text(left - 8, y + 11, f"layer {r.layer}", 11, "end"))
        parts.append(text(left + (r.end - start) * scale + 5, y + 11, f"{len(r.misses)} of "
                          f"{len(r.hits) + len(r.misses)} missing" if r.misses else "", 10))
        before = r.end
    share = {colour: 100 * time / span for colour, time in totals.items()}
    parts = [text(left, 20, f"One token: {span / 1000:.1f} ms", 14)] + legend(left, 42, (
        (REST, f"attention, norms, router, output ({share[REST]:.0f} %)"),
        (COMPUTE, f"experts ({share[COMPUTE]:.0f} %)"),
        (WAIT, f"waiting for the disk ({share[WAIT]:.0f} %)"))) + parts
    parts += [boxes(c, colour) for colour, c in cells.items() if c]
    return page(left + width + 90, top + len(by_step[step]) * (bar + 4) + 16, parts)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("timeline")
    parser.add_argument("--residency", metavar="OUT.svg")
    parser.add_argument("--steps", type=int, default=60, help="tokens of that picture (60)")
    parser.add_argument("--layers", help="layers of that picture, with commas; all unless given")
    parser.add_argument("--token", metavar="OUT.svg")
    parser.add_argument("--step", type=int, help="the token of that picture")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if not (arguments.residency or arguments.token):
        raise Failure("nothing to draw: give --residency OUT.svg or --token OUT.svg")
    data = read(arguments.timeline)
    if arguments.residency:
        chosen = numbers(arguments.layers) if arguments.layers else list(range(data[0]))
        if not all(0 <= layer < data[0] for layer in chosen):
            raise Failure(f"--layers {arguments.layers}: the model has layers 0 to {data[0] - 1}")
        with open(arguments.residency, "w", encoding="utf-8") as out:
            out.write(residency(data, arguments.steps, chosen))
    if arguments.token:
        with open(arguments.token, "w", encoding="utf-8") as out:
            out.write(token(data, arguments.step))


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError, ValueError) as error:
        print(f"draw_experts.py: {error}", file=sys.stderr)
        sys.exit(1)
