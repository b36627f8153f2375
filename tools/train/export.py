# SPDX-License-Identifier: Apache-2.0
"""Turns a trained model and its tokenizer into a GGUF file."""

import copy

import chat
import gguf_writer
import quantize
from gguf_writer import U32
from model import gguf_tensors

FILE_TYPE = {"bf16": 32, "q8_0": 7, "q4_k_m": 15}
NAME = {"qwen3moe": "Sluice embedded model", "qwen3next": "Sluice embedded hybrid model"}


def metadata(config, vocabulary, mix):
    """vocabulary: {"tokens", "types", "merges"} as build_dataset.py writes it."""
    c, a = config, config.architecture
    ids = {token: index for index, token in enumerate(vocabulary["tokens"])}
    output = {
        "general.architecture": a,
        "general.type": "model",
        "general.name": NAME[a],
        "general.basename": "sluice-tiny",
        "general.license": "apache-2.0",
        "general.description": "A tiny mixture-of-experts model for demonstrations and tests: adds "
                               "and subtracts, sorts words, introduces itself, continues text.",
        "general.languages": ["en", "zh"],
        "general.file_type": U32(FILE_TYPE[mix]),
        "general.quantization_version": U32(2),
        "general.sampling.temp": 0.0,
        f"{a}.block_count": U32(c.layers + c.draft_layers),
        f"{a}.context_length": U32(c.context),
        f"{a}.embedding_length": U32(c.dim),
        f"{a}.feed_forward_length": U32(c.expert_dim * c.experts_used),
        f"{a}.attention.head_count": U32(c.heads),
        f"{a}.attention.head_count_kv": U32(c.kv_heads),
        f"{a}.attention.key_length": U32(c.head_dim),
        f"{a}.attention.value_length": U32(c.head_dim),
        f"{a}.attention.layer_norm_rms_epsilon": c.eps,
        f"{a}.rope.freq_base": c.rope_base,
        f"{a}.rope.dimension_count": U32(c.rope_dims),
        f"{a}.expert_count": U32(c.experts),
        f"{a}.expert_used_count": U32(c.experts_used),
        f"{a}.expert_feed_forward_length": U32(c.expert_dim),
    }
    if a == "qwen3next":
        output |= {
            f"{a}.expert_shared_feed_forward_length": U32(c.shared_dim),
            f"{a}.nextn_predict_layers": U32(c.draft_layers),
            f"{a}.full_attention_interval": U32(c.full_attention_interval),
            f"{a}.ssm.conv_kernel": U32(c.conv_taps),
            f"{a}.ssm.state_size": U32(c.linear_head_dim),
            f"{a}.ssm.group_count": U32(c.linear_key_heads),
            f"{a}.ssm.time_step_rank": U32(c.linear_value_heads),
            f"{a}.ssm.inner_size": U32(c.linear_value_heads * c.linear_head_dim),
        }
    output |= {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": vocabulary["tokens"],
        "tokenizer.ggml.token_type": vocabulary["types"],
        "tokenizer.ggml.merges": vocabulary["merges"],
        "tokenizer.ggml.bos_token_id": U32(ids[chat.END_OF_TEXT]),
        "tokenizer.ggml.eos_token_id": U32(ids[chat.END_OF_TURN]),
        "tokenizer.ggml.padding_token_id": U32(ids[chat.END_OF_TEXT]),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": chat.template_text(),
    }
    return output


def with_rounded_weights(model, mix):
    """A copy of the model whose weights are exactly those of the exported file."""
    rounded = copy.deepcopy(model)
    tensors = gguf_tensors(rounded)
    types = quantize.plan(tensors, model.config, mix)
    for (name, tensor) in tensors:
        if types[name] != quantize.F32:
            tensor.copy_(quantize.round_trip(tensor, types[name]))
    return rounded


def write_gguf(path, model, vocabulary, mix):
    """Writes the model as "bf16", "q8_0" or "q4_k_m"; returns the file's size in bytes."""
    tensors = gguf_tensors(model)
    types = quantize.plan(tensors, model.config, mix)
    entries = [(name, types[name], list(reversed(tensor.shape)),
                quantize.to_bytes(tensor, types[name])) for name, tensor in tensors]
    return gguf_writer.write(path, metadata(model.config, vocabulary, mix), entries)
