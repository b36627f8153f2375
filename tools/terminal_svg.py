#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the text on standard input as a terminal window: tools/terminal_svg.py < session.txt > picture.svg"""
import html
import sys
import unicodedata

COLUMN, LINE, MARGIN, BAR = 8.4, 20, 16, 32


def width(text):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def wrap(line, columns):
    rows, row = [], ""
    for character in line:
        if width(row + character) > columns:
            rows.append(row)
            row = ""
        row += character
    return rows + [row]


def main():
    rows = [row for line in sys.stdin.read().rstrip("\n").split("\n") for row in wrap(line, 96)]
    across = MARGIN * 2 + COLUMN * max(width(row) for row in rows)
    down = BAR + MARGIN + LINE * len(rows)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across:.0f} {down:.0f}" font-size="14" '
          f'font-family="DejaVu Sans Mono, Menlo, Consolas, Noto Sans Mono CJK SC, monospace">')
    print(f'<rect width="100%" height="100%" rx="8" fill="#1e2228"/>')
    for index, colour in enumerate(("#ec6a5e", "#f4bf4f", "#61c554")):
        print(f'<circle cx="{20 + 20 * index}" cy="16" r="6" fill="{colour}"/>')
    for index, row in enumerate(rows):
        colour = "#7fb4ff" if row.startswith(("> ", "$ ")) else "#7d8590" if row.startswith("[") else "#e6e6e6"
        print(f'<text x="{MARGIN}" y="{BAR + LINE * (index + 0.75):.0f}" fill="{colour}" '
              f'xml:space="preserve">{html.escape(row)}</text>')
    print("</svg>")


if __name__ == "__main__":
    main()
