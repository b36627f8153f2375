# SPDX-License-Identifier: Apache-2.0
"""The chat format: special tokens, the template's text, and the same rendering in plain Python."""

import json
import pathlib

# The added tokens of the Qwen family in their order; (text, is a control token).
SPECIAL_TOKENS = [(f"<|{name}|>", True) for name in (
    "endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end",
    "quad_start", "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad")]
SPECIAL_TOKENS += [("<tool_call>", False), ("</tool_call>", False)]
SPECIAL_TOKENS += [(f"<|{name}|>", True) for name in (
    "fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")]
SPECIAL_TOKENS += [("<tool_response>", False), ("</tool_response>", False), ("<think>", False),
                   ("</think>", False)]

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"

TEMPLATE_PATH = pathlib.Path(__file__).with_name("chat_template.jinja")


def template_text():
    return TEMPLATE_PATH.read_text(encoding="utf-8").removesuffix("\n")


def to_json(value):
    return json.dumps(value, ensure_ascii=False)


def tool_call_text(call):
    function = call["function"]
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        arguments = to_json(arguments)
    return ('<tool_call>\n{"name": "' + function["name"] + '", "arguments": ' + arguments +
            "}\n</tool_call>")


def pieces(messages, tools=None, add_generation_prompt=False):
    """Renders like chat_template.jinja; returns [(text, is an answer)]. An answer is what the model
    has to write: an assistant message with its end-of-turn token. Joined, the texts are the prompt."""
    output = []

    def prompt(text):
        if output and not output[-1][1]:
            output[-1] = (output[-1][0] + text, False)
        else:
            output.append((text, False))

    intro = messages[0]["content"] if messages[0]["role"] == "system" else ""
    if tools:
        prompt("<|im_start|>system\n" + (intro + "\n\n" if intro else "") +
               "You can call these tools:\n<tools>\n" +
               "".join(to_json(tool) + "\n" for tool in tools) +
               "</tools>\nTo call one, answer with its name and arguments:\n"
               '<tool_call>\n{"name": NAME, "arguments": OBJECT}\n</tool_call><|im_end|>\n')
    elif intro:
        prompt("<|im_start|>system\n" + intro + "<|im_end|>\n")
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "user" or (role == "system" and index > 0):
            prompt(f"<|im_start|>{role}\n{message['content']}<|im_end|>\n")
        elif role == "assistant":
            prompt("<|im_start|>assistant\n")
            parts = [message["content"]] if message.get("content") else []
            parts += [tool_call_text(call) for call in message.get("tool_calls") or []]
            output.append(("\n".join(parts) + END_OF_TURN, True))
            prompt("\n")
        elif role == "tool":
            prompt("<|im_start|>user\n<tool_response>\n" + message["content"] +
                   "\n</tool_response><|im_end|>\n")
    if add_generation_prompt:
        prompt("<|im_start|>assistant\n")
    return output


def render(messages, tools=None, add_generation_prompt=False):
    return "".join(text for text, _ in pieces(messages, tools, add_generation_prompt))


def check_template():
    """Compares render() with Jinja2 on the template; raises if they differ."""
    import jinja2
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = to_json
    template = environment.from_string(template_text())
    call = {"type": "function", "function": {"name": "get_time", "arguments": {"place": "\u5317\u4eac"}}}
    tool = {"type": "function", "function": {"name": "get_time", "parameters": {}}}
    chats = [[{"role": "user", "content": "a"}],
             [{"role": "system", "content": "s"}, {"role": "user", "content": "a"},
              {"role": "assistant", "content": "b"}, {"role": "system", "content": "t"},
              {"role": "user", "content": "c"}],
             [{"role": "user", "content": "a"},
              {"role": "assistant", "content": "", "tool_calls": [call, call]},
              {"role": "tool", "content": "r"},
              {"role": "assistant", "content": "b", "tool_calls": [call]}]]
    for messages in chats:
        for tools in (None, [tool, tool]):
            for prompt in (False, True):
                wanted = template.render(messages=messages, tools=tools, add_generation_prompt=prompt)
                if render(messages, tools, prompt) != wanted:
                    raise AssertionError(f"chat.render differs from the template:\n{wanted}")
