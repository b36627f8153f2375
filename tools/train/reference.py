#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a very small random qwen3next model with a multi-token prediction block, and what PyTorch
computes with it in float32: the reference of tests/golden/draft_golden_test.cpp.

    python3 tools/train/reference.py tests/data/models/qwen3next-drafts

writes NAME.bf16.gguf, NAME.json (tokens, and the two guesses behind each pair of neighbours) and
float32 rows of logits: NAME.logits.f32 of every token, NAME.first.f32 and NAME.second.f32 of the
guesses. A guess that follows from another one is computed as an engine does: keys and values of the
text before come from the model itself.
"""

import argparse
import json
import pathlib

import torch
import torch.nn.functional as F

import chat
import export
from model import Config, Model, linear

TOKENS = 40


def vocabulary():
    """The 256 bytes as byte-level BPE writes them, two merges, the special tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = sorted(printable) + [256 + i for i in range(256 - len(printable))]
    tokens = [chr(code) for code in alphabet] + ["he", "ll"]
    special = [text for text, _ in chat.SPECIAL_TOKENS]
    types = [1] * len(tokens) + [3 if control else 4 for _, control in chat.SPECIAL_TOKENS]
    return {"tokens": tokens + special, "types": types, "merges": ["h e", "l l"]}


def random_model(size):
    config = Config(architecture="qwen3next", vocabulary=size, dim=64, layers=4, heads=4, kv_heads=2,
                    head_dim=32, rope_dims=8, context=256, experts=8, experts_used=3, expert_dim=32,
                    shared_dim=32, linear_key_heads=2, linear_value_heads=4, linear_head_dim=32,
                    draft_layers=1)
    model = Model(config).initialise(7)
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name == "token_embd":
                parameter.copy_(noise)
            elif parameter.dim() < 2 or name.endswith("ssm_conv1d"):
                parameter.add_(0.2 * noise)
    return export.with_rounded_weights(model, "bf16")


@torch.no_grad()
def guesses(model, tokens):
    """[(logits of the first guess, of the second)] behind tokens[t] and tokens[t + 1]."""
    parts, dtype = ((1, len(tokens) - 1),), torch.float32
    embedding = F.embedding(tokens, model.token_embd)
    hidden = model.hidden_states(tokens[:-1], parts)[0][0]
    inputs = model.draft.combine(hidden, embedding[1:], dtype)
    output = []
    for t in range(len(tokens) - 1):
        rows, logits = inputs[:t + 1], []
        for _ in range(2):
            x = model.draft.layer(rows, ((1, len(rows)),), model.table, dtype)[0][-1:]
            known = model.draft.shared_head_norm(x)
            logits.append(linear(known, model.output, dtype)[0])
            guess = F.embedding(logits[-1].argmax()[None], model.token_embd)
            rows = torch.cat((rows, model.draft.combine(known, guess, dtype)))
        output.append(logits)
    return output


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", help="path of the files without their endings")
    name = parser.parse_args().name
    words = vocabulary()
    model = random_model(len(words["tokens"]))
    export.write_gguf(f"{name}.bf16.gguf", model, words, "bf16")
    tokens = torch.randint(0, 256, (TOKENS,), generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        logits = model(tokens, ((1, TOKENS),))[0]
    pairs = guesses(model, tokens)
    files = {"logits": logits, "first": torch.stack([first for first, _ in pairs]),
             "second": torch.stack([second for _, second in pairs])}
    for part, rows in files.items():
        pathlib.Path(f"{name}.{part}.f32").write_bytes(rows.contiguous().numpy().tobytes())
    description = {"tokens": tokens.tolist(),
                   "guesses": [[int(item.argmax()) for item in pair] for pair in pairs]}
    pathlib.Path(f"{name}.json").write_text(json.dumps(description) + "\n")


if __name__ == "__main__":
    main()
