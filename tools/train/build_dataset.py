#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the tokenizer and turns text and exercises into arrays of tokens.

    python3 build_dataset.py --corpus .train/corpus.xz --out DIR

writes to DIR
    vocabulary.json, tokenizer.json   the vocabulary, for export and for the tokenizers library
    text.u16, heldout_text.u16        documents, each followed by <|endoftext|>
    short.u16, short.u8               conversations packed into rows of 257 tokens, and for each token
                                      whether it belongs to an answer
    long.u16, long.u8                 longer chats and chats with tools in rows of 2049 tokens
    heldout.jsonl                     held-out exercises with the tokens of their prompts
Runs on all cores; the same arguments give the same files. Needs numpy and tokenizers.
"""

import argparse
import hashlib
import json
import lzma
import multiprocessing
import os
import pathlib
import random
import re
import time

os.environ["TOKENIZERS_PARALLELISM"] = "true"

import numpy as np
import tokenizers
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        trainers)

import chat
import exercises

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
SHORT, LONG = 257, 2049


def load_documents(path):
    """[(language, text, held out)]; one document of a hundred is held out."""
    raw = lzma.open(path).read()
    output = []
    for match in re.finditer(rb"[\x01\x02][^\x01\x02]*", raw):
        data = match.group()
        held_out = int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little") % 100 == 0
        output.append(("en" if data[0] == 1 else "zh", data[1:].decode(), held_out))
    return output


def train_tokenizer(texts, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(chat.SPECIAL_TOKENS), min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=16)
    tokenizer.train_from_iterator(texts, trainer)
    for text, control in chat.SPECIAL_TOKENS:
        token = AddedToken(text, normalized=False, special=control)
        (tokenizer.add_special_tokens if control else tokenizer.add_tokens)([token])
    return tokenizer


def vocabulary_of(tokenizer):
    """The arrays of a GGUF file. Token types: 1 normal, 3 control, 4 user-defined."""
    description = json.loads(tokenizer.to_str())
    ids = tokenizer.get_vocab()
    tokens = [None] * len(ids)
    for text, index in ids.items():
        tokens[index] = text
    kinds = {text: 3 if control else 4 for text, control in chat.SPECIAL_TOKENS}
    merges = [merge if isinstance(merge, str) else " ".join(merge)
              for merge in description["model"]["merges"]]
    assert all(token is not None for token in tokens)
    return {"tokens": tokens, "types": [kinds.get(token, 1) for token in tokens], "merges": merges}


class Packer:
    """Packs token sequences into rows of one length, whole sequences only, first row that fits."""

    def __init__(self, length, fill):
        self.length, self.fill = length, fill
        self.open, self.rows, self.masks = [], [], []

    def add(self, tokens, mask):
        if len(tokens) + 1 > self.length:
            return False
        for row in self.open:
            if len(row[0]) + len(tokens) + 1 <= self.length:
                break
        else:
            row = ([], [])
            self.open.append(row)
        row[0].extend(tokens + [self.fill])
        row[1].extend(mask + [0])
        if len(self.open) > 24:
            self.close(max(range(len(self.open)), key=lambda i: len(self.open[i][0])))
        return True

    def close(self, index):
        tokens, mask = self.open.pop(index)
        rest = self.length - len(tokens)
        self.rows.append(tokens + [self.fill] * rest)
        self.masks.append(mask + [0] * rest)

    def finish(self):
        while self.open:
            self.close(0)
        return (np.array(self.rows, np.uint16).reshape(-1, self.length),
                np.array(self.masks, np.uint8).reshape(-1, self.length))


worker = {}


def start_worker(tokenizer_path, snippets):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    worker["tokenizer"] = Tokenizer.from_file(tokenizer_path)
    worker["snippets"] = snippets


def encode_pieces(conversations):
    """[pieces] -> [(tokens, mask)]"""
    flat = [text for pieces in conversations for text, _ in pieces]
    encoded = iter(worker["tokenizer"].encode_batch(flat, add_special_tokens=False))
    output = []
    for pieces in conversations:
        tokens, mask = [], []
        for _, answer in pieces:
            ids = next(encoded).ids
            tokens += ids
            mask += [int(answer)] * len(ids)
        output.append((tokens, mask))
    return output


def make_conversations(task):
    """Generates, encodes and packs one share of the exercises; returns short and long rows."""
    index, short_count, long_count, seed = task
    rng = random.Random(f"conversations {seed} {index}")
    fill = worker["tokenizer"].token_to_id(chat.END_OF_TEXT)
    short, long = Packer(SHORT, fill), Packer(LONG, fill)
    made = 0
    while made < short_count + long_count:
        batch = []
        for _ in range(500):
            if made < short_count:
                turns = rng.choices((1, 2, 3, 4), (60, 20, 14, 6))[0]
                messages, tools = exercises.conversation(rng, turns, worker["snippets"])
            else:
                with_tools = rng.random() < 0.5
                turns = rng.randint(1, 3) if with_tools else rng.randint(3, 16)
                messages, tools = exercises.conversation(rng, turns, worker["snippets"], with_tools)
            made += 1
            batch.append(chat.pieces(messages, tools))
        for tokens, mask in encode_pieces(batch):
            # The newline after the last answer belongs to the next turn.
            tokens, mask = tokens[:-1], mask[:-1]
            if not short.add(tokens, mask):
                long.add(tokens, mask)
    return short.finish() + long.finish()


def encode_documents(texts):
    end = worker["tokenizer"].token_to_id(chat.END_OF_TEXT)
    output = []
    for encoding in worker["tokenizer"].encode_batch(texts, add_special_tokens=False):
        output.extend(encoding.ids)
        output.append(end)
    return np.array(output, np.uint16)


def snippets_of(documents, rng):
    """Sentences for people to say that are no exercise."""
    output = []
    for _, text, held_out in documents:
        if held_out:
            continue
        lines = [line for line in text.split("\n") if 8 <= len(line) <= 120 and "<" not in line]
        if lines:
            output.append(rng.choice(lines))
    return output


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--vocabulary", type=int, default=6144)
    parser.add_argument("--short", type=int, default=1_200_000, help="short conversations")
    parser.add_argument("--long", type=int, default=100_000, help="long conversations")
    parser.add_argument("--heldout", type=int, default=500, help="held-out exercises")
    parser.add_argument("--sample", type=int, default=24_000_000,
                        help="characters of text for the tokenizer")
    parser.add_argument("--text", type=int, default=0, help="documents to use, 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def report(text):
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    rng = random.Random(f"dataset {arguments.seed}")
    documents = load_documents(arguments.corpus)
    if arguments.text:
        documents = documents[:arguments.text]
    report(f"{len(documents)} documents, tokenizers {tokenizers.__version__}")

    # Chinese is a sixth of the text: it counts twice, in the tokenizer and in training.
    sample, size = [], 0
    for language, text, held_out in documents:
        if not held_out and size < arguments.sample:
            sample += [text] * (2 if language == "zh" else 1)
            size += len(text)
    for _ in range(max(200, size // 8000)):
        messages, tools = exercises.conversation(rng, 3)
        sample += [message["content"] for message in messages]
    tokenizer = train_tokenizer(sample, arguments.vocabulary)
    path = str(arguments.out / "tokenizer.json")
    tokenizer.save(path)
    vocabulary = vocabulary_of(tokenizer)
    (arguments.out / "vocabulary.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    report(f"tokenizer: {len(vocabulary['tokens'])} tokens, {len(vocabulary['merges'])} merges")
    if len(vocabulary["tokens"]) != arguments.vocabulary:
        raise SystemExit(f"the tokenizer has {len(vocabulary['tokens'])} tokens and not "
                         f"{arguments.vocabulary}: too little text")

    # Spawned, not forked: the library's own threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.processes, start_worker,
                      (path, snippets_of(documents, rng))) as pool:
        tasks = 64 if arguments.short >= 64 * 500 else 4
        conversations = pool.imap(make_conversations, [
            (index, arguments.short // tasks, arguments.long // tasks, arguments.seed)
            for index in range(tasks)])
        train = [text for language, text, held_out in documents if not held_out
                 for _ in range(2 if language == "zh" else 1)]
        rng.shuffle(train)
        heldout = [text for _, text, held_out in documents if held_out]
        step = 100
        chunks = [train[i:i + step] for i in range(0, len(train), step)]
        text = np.concatenate(list(pool.imap(encode_documents, chunks)))
        text.tofile(arguments.out / "text.u16")
        heldout_chunks = [heldout[i:i + step] for i in range(0, len(heldout), step)]
        heldout_text = np.concatenate(list(pool.imap(encode_documents, heldout_chunks)))
        heldout_text.tofile(arguments.out / "heldout_text.u16")
        report(f"text: {len(text)} tokens for training, {len(heldout_text)} held out from "
               f"{sum(len(item.encode()) for item in heldout)} bytes")
        parts = list(zip(*conversations))
    for name, arrays in zip(("short.u16", "short.u8", "long.u16", "long.u8"), parts):
        array = np.concatenate(arrays)
        array.tofile(arguments.out / name)
        if name.endswith("u16"):
            report(f"{name}: {array.shape[0]} rows of {array.shape[1]} tokens")
        else:
            report(f"{name}: {array.mean():.3f} of the tokens are answers")

    with open(arguments.out / "heldout.jsonl", "w", encoding="utf-8") as file:
        for item in exercises.held_out_exercises(arguments.heldout, arguments.seed):
            prompt = chat.render(item["messages"], item.get("tools"), add_generation_prompt=True)
            item["prompt"] = tokenizer.encode(prompt, add_special_tokens=False).ids
            item["answer_tokens"] = tokenizer.encode(item["answer"], add_special_tokens=False).ids
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
    report("done")


if __name__ == "__main__":
    main()
