#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Packs the merges of a byte-level BPE vocabulary in a GGUF for the tests.

    tools/pack_vocabulary.py MODEL.gguf tests/data/tokenizer/qwen_merges.bin

The output has six bytes for each merge, in order of rank: the ids of its left and right token, 24 bits
each, little-endian. That is the whole vocabulary if, as in Qwen's, the ids 0 to 255 are the single bytes
(in the order of the characters that stand for them) and merge r makes token 256 + r; this is checked.
Added tokens are not packed.
"""
import struct
import sys

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Reader:
    def __init__(self, data):
        self.data, self.offset = data, 0

    def scalar(self, code):
        (value,) = struct.unpack_from("<" + code, self.data, self.offset)
        self.offset += struct.calcsize("<" + code)
        return value

    def string(self):
        length = self.scalar("Q")
        self.offset += length
        return self.data[self.offset - length : self.offset].decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.scalar("I"), self.scalar("Q")
            return [self.value(element) for _ in range(count)]
        return self.scalar(SCALARS[kind])


def read_metadata(path):
    with open(path, "rb") as file:
        reader = Reader(file.read())
    if reader.data[:4] != b"GGUF":
        sys.exit(f"{path}: not a GGUF file")
    reader.offset = 4
    reader.scalar("I"), reader.scalar("Q")  # version, number of tensors
    return {reader.string(): reader.value(reader.scalar("I")) for _ in range(reader.scalar("Q"))}


def byte_characters():
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(c) for c in own + list(range(0x100, 0x144))]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    metadata = read_metadata(sys.argv[1])
    tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
    if tokens[:256] != byte_characters():
        sys.exit("tokens 0 to 255 are not the single bytes in the usual order")
    ids = {token: i for i, token in enumerate(tokens[: 256 + len(merges)])}
    packed = bytearray()
    for rank, merge in enumerate(merges):
        space = merge.index(" ", 1)
        left, right = merge[:space], merge[space + 1 :]
        if tokens[256 + rank] != left + right:
            sys.exit(f"merge {rank} does not make token {256 + rank}")
        packed += ids[left].to_bytes(3, "little") + ids[right].to_bytes(3, "little")
    with open(sys.argv[2], "wb") as file:
        file.write(packed)


if __name__ == "__main__":
    main()
