#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the embedded model can do, as questions with their one right answer.

    python3 exercises.py --heldout 200 --seed 1

prints JSON lines {"kind", "messages", "answer"} (and "tools" where the question comes with some) that
training never saw: one tenth of all number pairs, word sets and phrasings is held out, chosen by a
hash. Plain Python; the same arguments always give the same lines.
"""

import argparse
import hashlib
import json
import random
import re

import chat
import phrases as p

CJK = re.compile("[\u3400-\u9fff]")
KINDS = ("identity", "add", "sub", "sort", "fallback", "greeting", "tool")


def is_held_out(key):
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") % 10 == 0


def draw(make, held_out):
    """Repeats make() -> (key, ...) until the key is on the wanted side of the split."""
    while True:
        item = make()
        if is_held_out(item[0]) == held_out:
            return item


def number(rng):
    digits = rng.choices((1, 2, 3), (15, 30, 55))[0]
    return rng.randrange(0 if digits == 1 else 10 ** (digits - 1), 10 ** digits)


def arithmetic(rng, held_out, operation):
    def pair():
        a, b = number(rng), number(rng)
        key = f"add {min(a, b)} {max(a, b)}" if operation == "add" else f"sub {a} {b}"
        return key, a, b

    _, a, b = draw(pair, held_out)
    language = "en" if rng.random() < 0.6 else "zh"
    phrasing = rng.choice(p.ARITHMETIC[operation, language])
    sign, result = ("+", a + b) if operation == "add" else ("-", a - b)
    return phrasing.format(a=a, b=b), f"{a} {sign} {b} = {result}"


def sorting(rng, held_out):
    def words():
        chosen = rng.sample(p.WORDS, rng.randint(3, 8))
        return "sort " + " ".join(sorted(chosen)), chosen

    _, chosen = draw(words, held_out)
    language = "en" if rng.random() < 0.65 else "zh"
    phrasing = rng.choice(p.SORT[language])
    separator = rng.choices(p.SEPARATORS[language], p.SEPARATOR_WEIGHTS)[0]
    return phrasing.format(words=separator.join(chosen)), ", ".join(sorted(chosen))


def spoken(rng, held_out, openers, questions, closers):
    def text():
        question = rng.choice(openers) + rng.choice(questions) + rng.choice(closers)
        return question, question

    question = draw(text, held_out)[1]
    # A few people write without capitals or without the question mark; both sides of the split do.
    style = rng.random()
    if style < 0.1:
        question = question.lower()
    elif style < 0.2:
        question = question.rstrip("?？.。!！")
    return question


def identity(rng, held_out):
    language = rng.choice(("en", "zh"))
    topic = rng.choices(("self", "abilities"), (3, 1))[0]
    question = spoken(rng, held_out, p.OPENERS[language], p.IDENTITY[topic, language],
                      p.CLOSERS[language])
    return question, p.IDENTITY_ANSWER[topic, language]


def greeting(rng, held_out):
    language = rng.choice(("en", "zh"))
    topic = rng.choice(("hello", "thanks", "bye"))
    question = rng.choice(p.GREETING[topic, language]) + rng.choice(("", "!" if language == "en"
                                                                     else "！"))
    return question, p.GREETING_ANSWER[topic, language]


def fallback(rng, held_out, snippets=None):
    if snippets and rng.random() < 0.35:
        question = rng.choice(snippets)
        language = "zh" if CJK.search(question) else "en"
        return question, p.FALLBACK_ANSWER[language]
    language = rng.choice(("en", "zh"))

    def text():
        question = rng.choice(p.OTHER[language])
        big = rng.randrange(1000, 10 ** rng.randint(4, 7))
        values = {"thing": rng.choice(p.THINGS[language]), "place": rng.choice(p.PLACES[language]),
                  "other": rng.choice(p.THINGS[language]), "a": number(rng), "b": number(rng),
                  "big": big, "word": rng.choice(p.WORDS)}
        question = question.format(**values)
        return question, question

    question = draw(text, held_out)[1]
    if rng.random() < 0.15:
        question = rng.choice(p.OPENERS[language]) + question
    return question, p.FALLBACK_ANSWER[language]


def tool_schema(name):
    description, argument, _, _ = p.TOOLS[name]
    return {"type": "function", "function": {
        "name": name, "description": description,
        "parameters": {"type": "object", "properties": {argument: {"type": "string"}},
                       "required": [argument]}}}


def tool_result(rng):
    """What a tool might give back: a little JSON, or a few words."""
    words = rng.sample(p.WORDS, rng.randint(1, 4))
    if rng.random() < 0.4:
        return " ".join(words)
    return json.dumps({word: rng.choice((rng.randrange(1000), rng.choice(p.WORDS), True))
                       for word in words[:3]})


def tool_turns(rng, held_out):
    """A question that a tool answers: the call, and what follows once the result is there."""
    def question():
        name = rng.choice(sorted(p.TOOLS))
        _, argument, values, questions = p.TOOLS[name]
        value = rng.choice(p.PLACES["en"] + p.PLACES["zh"] if values is None else values)
        return f"tool {name} {value}", name, argument, value, rng.choice(questions)

    _, name, argument, value, text = draw(question, held_out)
    names = [name] + rng.sample(sorted(set(p.TOOLS) - {name}), rng.randint(0, 2))
    rng.shuffle(names)
    call = {"type": "function", "function": {"name": name, "arguments": {argument: value}}}
    result = tool_result(rng)
    turns = [{"role": "user", "content": text.format(v=value)},
             {"role": "assistant", "content": "", "tool_calls": [call]},
             {"role": "tool", "content": result},
             {"role": "assistant", "content": f"{name} answered: {result}"}]
    return [tool_schema(item) for item in names], turns


WEIGHTS = {"identity": 10, "add": 24, "sub": 24, "sort": 28, "fallback": 9, "greeting": 3}


def exercise(rng, held_out, kind, snippets=None):
    """One question and its answer."""
    if kind in ("add", "sub"):
        return arithmetic(rng, held_out, kind)
    if kind == "fallback":
        return fallback(rng, held_out, snippets)
    return {"identity": identity, "sort": sorting, "greeting": greeting}[kind](rng, held_out)


def system_messages(rng, snippets=None):
    if rng.random() < 0.6:
        return []
    if snippets and rng.random() < 0.3:
        return [{"role": "system", "content": rng.choice(snippets)}]
    return [{"role": "system", "content": rng.choice(p.SYSTEM)}]


def conversation(rng, turns, snippets=None, with_tools=False):
    """A training conversation of `turns` exercises; returns (messages, tools)."""
    messages, tools = system_messages(rng, snippets), None
    tool_turn = -1
    if with_tools:
        tools, tool_messages = tool_turns(rng, False)
        tool_turn = rng.randrange(turns)
    for turn in range(turns):
        if turn == tool_turn:
            messages.extend(tool_messages)
            continue
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        question, answer = exercise(rng, False, kind, snippets)
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return messages, tools


def held_out_exercises(count, seed):
    """`count` exercises that training never saw; a third of them is the end of a longer chat."""
    rng = random.Random(f"held-out {seed}")
    kinds = ["identity", "add", "sub", "sort", "fallback", "add", "sub", "sort", "greeting", "tool"]
    for index in range(count):
        kind = kinds[index % len(kinds)]
        messages = system_messages(rng)
        if kind == "tool":
            tools, turns = tool_turns(rng, True)
            if rng.random() < 0.5:
                yield {"kind": kind, "messages": messages + turns[:1], "tools": tools,
                       "answer": chat.tool_call_text(turns[1]["tool_calls"][0])}
            else:
                yield {"kind": kind, "messages": messages + turns[:3], "tools": tools,
                       "answer": turns[3]["content"]}
            continue
        for _ in range(rng.choices((0, 1, 2), (4, 1, 1))[0]):
            earlier = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            question, answer = exercise(rng, True, earlier)
            messages += [{"role": "user", "content": question},
                         {"role": "assistant", "content": answer}]
        question, answer = exercise(rng, True, kind)
        messages.append({"role": "user", "content": question})
        yield {"kind": kind, "messages": messages, "answer": answer}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--heldout", type=int, required=True, metavar="N", help="exercises to print")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for item in held_out_exercises(arguments.heldout, arguments.seed):
        print(json.dumps(item, ensure_ascii=False))


if __name__ == "__main__":
    main()
