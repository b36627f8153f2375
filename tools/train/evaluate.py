# SPDX-License-Identifier: Apache-2.0
"""Measures a trained model: held-out exercises, held-out text, use of the experts, references."""

import math

import torch
import torch.nn.functional as F

import chat

CONTINUATIONS = ["The kernel is", "To install a package, you", "Debian 是一个", "床前明月光，"]
REFERENCE_TEXTS = {
    "en": "The package manager reads the list of files, and it's able to install 3 of them\n\n  in 12 ms!",
    "zh": "自由软件让每个人都可以使用、研究和修改程序。系统管理员需要 2 台服务器。",
    "chat": [{"role": "system", "content": "You are a helpful assistant."},
             {"role": "user", "content": "What is 123 + 456?"},
             {"role": "assistant", "content": "123 + 456 = 579"},
             {"role": "user", "content": "请按字母顺序排列：pear, apple, zebra"}],
}


@torch.no_grad()
def generate(model, prompts, limit, stops):
    """Greedy continuations of several prompts (lists of ids), each up to a stop token. Without a
    cache: rows are padded on the right, which no earlier position can see."""
    device = model.token_embd.device
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    outputs = [None] * len(prompts)
    for start in range(0, len(order), 128):
        chosen = order[start:start + 128]
        lengths = torch.tensor([len(prompts[i]) for i in chosen], device=device)
        width = int(lengths.max())
        tokens = torch.zeros((len(chosen), width), dtype=torch.long)
        for row, i in enumerate(chosen):
            tokens[row, :len(prompts[i])] = torch.tensor(prompts[i])
        tokens = tokens.to(device)
        rows = torch.arange(len(chosen), device=device)
        written = [[] for _ in chosen]
        done = [False] * len(chosen)
        for _ in range(limit):
            if int(lengths.max()) >= model.config.context:
                break
            logits = model(tokens.reshape(-1), ((len(chosen), tokens.shape[1]),))[0]
            best = logits.view(len(chosen), tokens.shape[1], -1)[rows, lengths - 1].argmax(-1)
            if int(lengths.max()) == tokens.shape[1]:
                tokens = F.pad(tokens, (0, 16))
            tokens[rows, lengths] = best
            lengths += 1
            for row, token in enumerate(best.tolist()):
                if not done[row]:
                    done[row] = token in stops
                    if not done[row]:
                        written[row].append(token)
            if all(done):
                break
        for row, i in enumerate(chosen):
            outputs[i] = written[row]
    return outputs


def exercises_right(model, items, tokenizer, stops):
    """{"kinds": {kind: [right, total]}, "multi_turn": [...], "all": [...], "rate", "wrong": [...]}"""
    answers = generate(model, [item["prompt"] for item in items],
                       max((len(item["answer_tokens"]) for item in items), default=0) + 4, stops)
    output = {"kinds": {}, "multi_turn": [0, 0], "all": [0, 0], "wrong": []}
    for item, tokens in zip(items, answers):
        text = tokenizer.decode(tokens, skip_special_tokens=False)
        right = text == item["answer"]
        counters = [output["kinds"].setdefault(item["kind"], [0, 0]), output["all"]]
        if sum(message["role"] == "user" for message in item["messages"]) > 1:
            counters.append(output["multi_turn"])
        for counter in counters:
            counter[0] += right
            counter[1] += 1
        if not right:
            output["wrong"].append({"question": item["messages"][-1]["content"], "got": text,
                                    "wanted": item["answer"]})
    output["rate"] = round(output["all"][0] / max(1, output["all"][1]), 4)
    return output


@torch.no_grad()
def text_loss(model, tokens, length, rows_at_once=8):
    """Mean loss per token (nats) over rows of `length`, and the share of tokens per expert."""
    count = (len(tokens) - 1) // length
    total, loads = 0.0, 0
    for start in range(0, count, rows_at_once):
        rows = min(rows_at_once, count - start)
        piece = tokens[start * length:(start + rows) * length + 1].long()
        logits, load = model(piece[:-1], ((rows, length),))[:2]
        total += F.cross_entropy(logits.float(), piece[1:], reduction="sum").item()
        loads = loads + load * rows / count
    return total / (count * length), loads


@torch.no_grad()
def drafts_right(model, rows, counted=None):
    """[right, total] of the first and the second guess of the draft block: how often it is the token
    that the model itself finds most likely, given the text so far. rows [rows, length] of tokens;
    counted, likewise: which tokens to guess at (all)."""
    length = rows.shape[1]
    following = [F.pad(rows[:, step:], (0, step)).reshape(-1) for step in (1, 2)]
    logits, _, _, drafts = model(rows.reshape(-1), (tuple(rows.shape),), following)
    best = logits.argmax(-1).view(rows.shape)
    output = []
    for step, guess in enumerate(drafts, 1):
        # At position i the model says token i + 1, the step-th guess is of token i + 1 + step.
        right = guess.argmax(-1).view(rows.shape)[:, :length - step] == best[:, step:]
        use = torch.ones_like(right) if counted is None else F.pad(
            counted[:, 1:], (0, 1))[:, step:]
        output.append([int((right & use).sum()), int(use.sum())])
    return output


def draft_figures(model, items, heldout_text, stops):
    """Share of right guesses, first and second, in held-out text and in answers to exercises."""
    device = model.token_embd.device
    length = min(1024, len(heldout_text) - 1)
    rows = min(16, len(heldout_text) // length)
    text = drafts_right(model, heldout_text[:rows * length].long().view(rows, length))
    answers = [[0, 0], [0, 0]]
    stop = min(stops)
    order = sorted(items, key=lambda item: len(item["prompt"]) + len(item["answer_tokens"]))
    for start in range(0, len(order), 64):
        chosen = [(item["prompt"], item["answer_tokens"]) for item in order[start:start + 64]]
        width = max(len(prompt) + len(answer) for prompt, answer in chosen) + 1
        tokens = torch.full((len(chosen), width), stop, dtype=torch.long)
        counted = torch.zeros((len(chosen), width), dtype=torch.bool)
        for row, (prompt, answer) in enumerate(chosen):
            tokens[row, :len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            counted[row, len(prompt) + 1:len(prompt) + len(answer)] = True
        part = drafts_right(model, tokens.to(device), counted.to(device))
        answers = [[a + c, b + d] for (a, b), (c, d) in zip(answers, part)]
    return {name: [round(right / max(1, total), 4) for right, total in counts]
            for name, counts in (("text", text), ("answers", answers))}


def measure(model, items, heldout_text, heldout_bytes, tokenizer, stops):
    """All figures of one set of weights."""
    loss, loads = text_loss(model, heldout_text, min(1024, len(heldout_text) - 1))
    used = model.config.experts_used / model.config.experts
    figures = {
        "exercises": exercises_right(model, items, tokenizer, stops),
        "text_loss": round(loss, 5),
        "text_perplexity": round(math.exp(loss), 4),
        "text_bits_per_byte": round(loss / math.log(2) * len(heldout_text) / heldout_bytes, 5),
        "expert_load": {"least": round(float(loads.min()) / used, 3),
                        "most": round(float(loads.max()) / used, 3)},
    }
    if model.draft is not None:
        figures["drafts"] = draft_figures(model, items, heldout_text, stops)
    return figures


def continuations(model, tokenizer, stops):
    prompts = [tokenizer.encode(text, add_special_tokens=False).ids for text in CONTINUATIONS]
    return [text + tokenizer.decode(tokens, skip_special_tokens=False)
            for text, tokens in zip(CONTINUATIONS, generate(model, prompts, 48, stops))]


@torch.no_grad()
def references(model, tokenizer):
    """{case: (description, logits [tokens, vocabulary])}; float32 on the CPU."""
    output = {}
    for case, text in REFERENCE_TEXTS.items():
        if not isinstance(text, str):
            text = chat.render(text, add_generation_prompt=True)
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        logits = model(torch.tensor(tokens), ((1, len(tokens)),))[0]
        greedy, gaps, sequence = [], [], list(tokens)
        for _ in range(24):
            last = model(torch.tensor(sequence), ((1, len(sequence)),))[0][-1]
            best = last.topk(2)
            greedy.append(int(best.indices[0]))
            gaps.append(round(float(best.values[0] - best.values[1]), 6))
            sequence.append(greedy[-1])
        output[case] = ({"text": text, "tokens": tokens, "greedy": greedy, "greedy_gap": gaps,
                         "logits_shape": list(logits.shape)}, logits.float().contiguous())
    return output
