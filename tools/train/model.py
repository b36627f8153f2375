# SPDX-License-Identifier: Apache-2.0
"""The small models as PyTorch modules, named like their GGUF tensors.

Tokens of a batch are one flat vector; `parts` says how it falls into rows: ((rows, length), ...). Every
row is a text of its own that starts at position 0. Only the mixers (attention, delta net) look at
parts, all else works on single tokens.

All experts are computed as one wide feed-forward network whose hidden units are weighted by their
expert's routing weight (zero when not chosen): the same function as sparse routing, and at this size
faster on a GPU than grouping tokens by expert.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass
class Config:
    architecture: str = "qwen3moe"
    vocabulary: int = 6144
    dim: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 64
    rope_dims: int = 64
    rope_base: float = 1e6
    context: int = 2048
    experts: int = 16
    experts_used: int = 4
    expert_dim: int = 256
    eps: float = 1e-6
    # qwen3next only
    shared_dim: int = 256
    full_attention_interval: int = 4
    linear_key_heads: int = 4
    linear_value_heads: int = 8
    linear_head_dim: int = 64
    conv_taps: int = 4
    draft_layers: int = 0  # blocks that predict the token after the next one: 0 or 1


def config_for(architecture, vocabulary):
    if architecture == "qwen3moe":
        return Config(vocabulary=vocabulary, expert_dim=128)
    return Config(architecture="qwen3next", vocabulary=vocabulary, layers=8, heads=4, kv_heads=2,
                  head_dim=128, rope_dims=32, experts=32, experts_used=8, expert_dim=32,
                  shared_dim=128, linear_key_heads=2, linear_value_heads=4, draft_layers=1)


def linear(x, weight, dtype):
    """x W^T with both rounded to `dtype`, the type that the model computes its products in."""
    return F.linear(x.to(dtype), weight.to(dtype))


class RmsNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rope_table(config):
    """cos and sin [context, rope_dims / 2], angles in double precision."""
    half = config.rope_dims // 2
    frequency = config.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(config.context, dtype=torch.float64)[:, None] * frequency
    return torch.stack((angle.cos(), angle.sin())).float()


def rotate(x, table):
    """NEOX pairing: element i with i + n/2 of the first n; x [rows, length, heads, head_dim]."""
    half = table.shape[-1]
    cos, sin = table[0, :x.shape[1], None, :], table[1, :x.shape[1], None, :]
    a, b, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), -1)


class Attention(nn.Module):
    """Grouped-query attention with per-head q and k norm; with `gated` (qwen3next) each head's output
    is multiplied by the sigmoid of a gate that comes from the same projection as its query."""

    def __init__(self, config, gated=False):
        super().__init__()
        c = config
        self.config, self.gated = c, gated
        rows = c.heads * c.head_dim
        self.attn_q = nn.Parameter(torch.empty(rows * (2 if gated else 1), c.dim))
        self.attn_k = nn.Parameter(torch.empty(c.kv_heads * c.head_dim, c.dim))
        self.attn_v = nn.Parameter(torch.empty(c.kv_heads * c.head_dim, c.dim))
        self.attn_output = nn.Parameter(torch.empty(c.dim, rows))
        self.attn_q_norm = RmsNorm(c.head_dim, c.eps)
        self.attn_k_norm = RmsNorm(c.head_dim, c.eps)

    def forward(self, h, parts, table, dtype):
        c = self.config
        tokens = h.shape[0]
        q = linear(h, self.attn_q, dtype).view(tokens, c.heads, -1)
        gate = None
        if self.gated:
            q, gate = q[..., :c.head_dim], q[..., c.head_dim:]
        q = self.attn_q_norm(q)
        k = self.attn_k_norm(linear(h, self.attn_k, dtype).view(tokens, c.kv_heads, c.head_dim))
        v = linear(h, self.attn_v, dtype).view(tokens, c.kv_heads, c.head_dim)
        outputs, start = [], 0
        for rows, length in parts:
            end = start + rows * length

            def part(x):
                return x[start:end].view(rows, length, -1, c.head_dim)

            group = c.heads // c.kv_heads
            out = F.scaled_dot_product_attention(
                rotate(part(q), table).to(dtype).transpose(1, 2),
                rotate(part(k), table).to(dtype).repeat_interleave(group, 2).transpose(1, 2),
                part(v).repeat_interleave(group, 2).transpose(1, 2), is_causal=True)
            outputs.append(out.transpose(1, 2).reshape(rows * length, c.heads, c.head_dim))
            start = end
        out = torch.cat(outputs)
        if gate is not None:
            out = out * torch.sigmoid(gate.float())
        return linear(out.reshape(tokens, -1), self.attn_output, dtype)


class MixtureOfExperts(nn.Module):
    def __init__(self, config, shared=False):
        super().__init__()
        c = config
        self.config, self.shared = c, shared
        self.ffn_gate_inp = nn.Parameter(torch.empty(c.experts, c.dim))
        self.ffn_gate_exps = nn.Parameter(torch.empty(c.experts, c.expert_dim, c.dim))
        self.ffn_up_exps = nn.Parameter(torch.empty(c.experts, c.expert_dim, c.dim))
        self.ffn_down_exps = nn.Parameter(torch.empty(c.experts, c.dim, c.expert_dim))
        if shared:
            self.ffn_gate_inp_shexp = nn.Parameter(torch.zeros(c.dim))
            self.ffn_gate_shexp = nn.Parameter(torch.empty(c.shared_dim, c.dim))
            self.ffn_up_shexp = nn.Parameter(torch.empty(c.shared_dim, c.dim))
            self.ffn_down_shexp = nn.Parameter(torch.empty(c.dim, c.shared_dim))

    def forward(self, h, dtype):
        """Returns (output, load [experts], balance loss); load is the share of tokens per expert."""
        c = self.config
        p = F.softmax(F.linear(h, self.ffn_gate_inp), -1)
        best, chosen = p.topk(c.experts_used, -1)
        weight = torch.zeros_like(p).scatter(-1, chosen, best / best.sum(-1, keepdim=True))
        load = (weight > 0).float().mean(0)
        balance = (load.detach() * p.mean(0)).sum() * (c.experts / c.experts_used)

        gate = linear(h, self.ffn_gate_exps.reshape(-1, c.dim), dtype)
        up = linear(h, self.ffn_up_exps.reshape(-1, c.dim), dtype)
        hidden = (F.silu(gate) * up).view(-1, c.experts, c.expert_dim) * weight[..., None].to(dtype)
        down = self.ffn_down_exps.permute(1, 0, 2).reshape(c.dim, -1)
        out = linear(hidden.view(h.shape[0], -1), down, dtype)
        if self.shared:
            hidden = F.silu(linear(h, self.ffn_gate_shexp, dtype)) * linear(h, self.ffn_up_shexp, dtype)
            scale = torch.sigmoid(h @ self.ffn_gate_inp_shexp)
            out = out + scale[:, None] * linear(hidden, self.ffn_down_shexp, dtype)
        return out, load.detach(), balance


class Layer(nn.Module):
    """`full`: gated attention in qwen3next, whose other layers are linear."""

    def __init__(self, config, full):
        super().__init__()
        hybrid = config.architecture == "qwen3next"
        self.attn_norm = RmsNorm(config.dim, config.eps)
        self.ffn_norm = RmsNorm(config.dim, config.eps)
        if hybrid and not full:
            from model_next import GatedDeltaNet
            self.mixer = GatedDeltaNet(config)
        else:
            self.mixer = Attention(config, gated=hybrid)
        self.moe = MixtureOfExperts(config, shared=hybrid)

    def forward(self, x, parts, table, dtype):
        x = x + self.mixer(self.attn_norm(x), parts, table, dtype).float()
        out, load, balance = self.moe(self.ffn_norm(x), dtype)
        return x + out.float(), load, balance


class Draft(nn.Module):
    """Multi-token prediction: from what the model knows at a token, and the next token, one more layer
    guesses the token after that. Its output can stand for what the model knows there."""

    def __init__(self, config):
        super().__init__()
        self.eh_proj = nn.Parameter(torch.empty(config.dim, 2 * config.dim))
        self.enorm = RmsNorm(config.dim, config.eps)
        self.hnorm = RmsNorm(config.dim, config.eps)
        self.shared_head_norm = RmsNorm(config.dim, config.eps)
        self.layer = Layer(config, full=True)

    def combine(self, hidden, embedding, dtype):
        """The input of the layer; its output's norm is the draft's `hidden`."""
        both = torch.cat((self.enorm(embedding), self.hnorm(hidden)), -1)
        return linear(both, self.eh_proj, dtype).float()


def run_layer(layer, *arguments):
    return layer(*arguments)


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.run_layer = run_layer  # training puts a compiled one here
        self.dtype = torch.float32  # of the matrix products; norms, router and residual are float32
        self.token_embd = nn.Parameter(torch.empty(config.vocabulary, config.dim))
        self.output = nn.Parameter(torch.empty(config.vocabulary, config.dim))
        self.layers = nn.ModuleList(
            Layer(config, full=(index + 1) % config.full_attention_interval == 0)
            for index in range(config.layers))
        self.output_norm = RmsNorm(config.dim, config.eps)
        self.draft = Draft(config) if config.draft_layers else None
        self.register_buffer("table", rope_table(config), persistent=False)

    def initialise(self, seed):
        generator = torch.Generator().manual_seed(seed)
        residual = 1 / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2 or name.endswith("ssm_conv1d"):
                continue
            std = parameter.shape[-1] ** -0.5
            if name == "token_embd":
                std = 0.1
            elif name.endswith(("attn_output", "ssm_out")) or "ffn_down" in name:
                std *= residual
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        return self

    def hidden_states(self, tokens, parts, following=()):
        """tokens [n]; returns (hidden [1 + drafts][n, dim], load [layers, experts], mean balance
        loss). following: the tokens after each one [n], the tokens after those, ...; for each comes
        what the draft block knows at them."""
        x = F.embedding(tokens, self.token_embd).float()
        loads, balances = [], []
        for layer in self.layers:
            x, load, balance = self.run_layer(layer, x, parts, self.table, self.dtype)
            loads.append(load)
            balances.append(balance)
        hidden = [self.output_norm(x)]
        for step in following:
            embedding = F.embedding(step, self.token_embd).float()
            x = self.draft.combine(hidden[-1], embedding, self.dtype)
            x, load, balance = self.run_layer(self.draft.layer, x, parts, self.table, self.dtype)
            hidden.append(self.draft.shared_head_norm(x))
            loads.append(load)
            balances.append(balance)
        return hidden, torch.stack(loads), torch.stack(balances).mean()

    def forward(self, tokens, parts, following=()):
        """Returns (logits [n, vocabulary], load, balance, logits of each draft); the first draft's are
        of the token behind `following`'s first."""
        hidden, load, balance = self.hidden_states(tokens, parts, following)
        logits, *drafts = (linear(item, self.output, self.dtype) for item in hidden)
        return logits, load, balance, drafts


def gguf_tensors(model):
    """[(GGUF name, tensor)] in file order. Values that the format stores in another form are turned
    into it here (ssm_a); shapes are PyTorch's, slowest dimension first."""
    norm = "post_attention_norm" if model.config.architecture == "qwen3next" else "ffn_norm"
    output = [("token_embd.weight", model.token_embd)]
    layers = list(model.layers)
    if model.draft is not None:
        layers.append(model.draft.layer)
    for index, layer in enumerate(layers):
        prefix = f"blk.{index}."
        for name, parameter in layer.named_parameters():
            name = name.removeprefix("mixer.").removeprefix("moe.")
            if name.endswith("norm.weight"):
                name = name.replace("ffn_norm", norm)
            elif name == "ssm_a_log":
                parameter = -torch.exp(parameter)
                name = "ssm_a"
            elif name == "ssm_dt":
                name = "ssm_dt.bias"
            else:
                name += ".weight"
            output.append((prefix + name, parameter))
    if model.draft is not None:
        prefix = f"blk.{len(model.layers)}.nextn."
        output.append((prefix + "eh_proj.weight", model.draft.eh_proj))
        for name in ("enorm", "hnorm", "shared_head_norm"):
            output.append((prefix + name + ".weight", getattr(model.draft, name).weight))
    output.append(("output_norm.weight", model.output_norm.weight))
    output.append(("output.weight", model.output))
    return [(name, tensor.detach()) for name, tensor in output]
