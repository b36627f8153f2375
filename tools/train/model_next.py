# SPDX-License-Identifier: Apache-2.0
"""The gated delta net of qwen3next: linear attention whose state is corrected, not only added to."""

import torch
import torch.nn.functional as F
from torch import nn

from model import RmsNorm, linear

CHUNK = 64


def delta_rule_by_steps(q, k, v, beta, g):
    """The definition, one token after the other; for tests of the chunked form."""
    state = torch.zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3], dtype=q.dtype)
    outputs = []
    for t in range(q.shape[1]):
        state = state * g[:, t, :, None, None].exp()
        error = beta[:, t, :, None] * (v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t]))
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], error)
        outputs.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]))
    return torch.stack(outputs, 1)


def delta_rule(q, k, v, beta, g):
    """q, k [rows, length, heads, dk] (k of length one, q scaled), v [rows, length, heads, dv], beta and
    the logarithm of the decay g <= 0 [rows, length, heads]; returns [rows, length, heads, dv].

    Inside a chunk all corrections follow from one triangular system; only the state is handed from
    chunk to chunk."""
    rows, length, heads, dk = q.shape
    pad = -length % CHUNK
    if pad:
        q, k, v = (F.pad(x, (0, 0, 0, 0, 0, pad)) for x in (q, k, v))
        beta, g = (F.pad(x, (0, 0, 0, pad)) for x in (beta, g))
    chunks = (length + pad) // CHUNK

    def split(x):
        return x.reshape(rows, chunks, CHUNK, heads, -1).permute(0, 3, 1, 2, 4)

    q, k, v = split(q), split(k), split(v)
    beta, total = split(beta), split(g).cumsum(-2)
    # exp of differences only, all <= 0 below the diagonal: the factors alone would overflow.
    lower = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).tril()
    decay = (total - total.transpose(-1, -2)).masked_fill(~lower, float("-inf")).exp()
    system = (beta * (k @ k.transpose(-1, -2)) * decay).tril(-1)
    right = torch.cat((beta * v, beta * total.exp() * k), -1)
    solved = torch.linalg.solve_triangular(
        system + torch.eye(CHUNK, dtype=q.dtype, device=q.device), right, upper=False,
        unitriangular=True)
    values, weights = solved[..., :v.shape[-1]], solved[..., v.shape[-1]:]
    inside = (q @ k.transpose(-1, -2)) * decay
    q = q * total.exp()
    last = total[..., -1:, :]
    k = k * (last - total).exp()
    last = last.exp()

    state = torch.zeros(rows, heads, dk, v.shape[-1], dtype=q.dtype, device=q.device)
    outputs = []
    for c in range(chunks):
        update = values[:, :, c] - weights[:, :, c] @ state
        outputs.append(q[:, :, c] @ state + inside[:, :, c] @ update)
        state = last[:, :, c] * state + k[:, :, c].transpose(-1, -2) @ update
    output = torch.stack(outputs, 2).permute(0, 2, 3, 1, 4)
    return output.reshape(rows, length + pad, heads, -1)[:, :length]


# The loop over chunks would be unrolled by the compiler, layer by layer.
if hasattr(torch, "compiler"):
    delta_rule = torch.compiler.disable(delta_rule)


class GatedDeltaNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        c = config
        self.config = c
        keys, values = (heads * c.linear_head_dim for heads in (c.linear_key_heads,
                                                                c.linear_value_heads))
        self.attn_qkv = nn.Parameter(torch.empty(2 * keys + values, c.dim))
        self.attn_gate = nn.Parameter(torch.empty(values, c.dim))
        self.ssm_ba = nn.Parameter(torch.empty(2 * c.linear_value_heads, c.dim))
        taps = torch.zeros(2 * keys + values, c.conv_taps)
        taps[:, -1] = 1
        self.ssm_conv1d = nn.Parameter(taps)
        # Decays from very slow to fast, the same in every layer.
        spread = torch.linspace(0, 1, c.linear_value_heads)
        step = 0.001 * 100 ** spread
        self.ssm_dt = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        self.ssm_a_log = nn.Parameter(torch.log(1 + 7 * spread))
        self.ssm_norm = RmsNorm(c.linear_head_dim, c.eps)
        self.ssm_out = nn.Parameter(torch.empty(c.dim, values))

    def forward(self, h, parts, table, dtype):
        c = self.config
        key_heads, value_heads, size = c.linear_key_heads, c.linear_value_heads, c.linear_head_dim
        group = value_heads // key_heads
        qkv = linear(h, self.attn_qkv, dtype).float()
        gate = linear(h, self.attn_gate, dtype).float()
        ba = linear(h, self.ssm_ba, dtype).float().view(-1, key_heads, 2, group)
        beta = torch.sigmoid(ba[:, :, 0]).reshape(-1, value_heads)
        g = -self.ssm_a_log.exp() * F.softplus(ba[:, :, 1].reshape(-1, value_heads) + self.ssm_dt)
        outputs, start = [], 0
        for rows, length in parts:
            end = start + rows * length
            x = F.pad(qkv[start:end].view(rows, length, -1), (0, 0, c.conv_taps - 1, 0))
            x = F.silu(sum(x[:, tap:tap + length] * self.ssm_conv1d[:, tap]
                           for tap in range(c.conv_taps)))
            x = x.view(rows, length, -1, size)
            q, k, v = x[:, :, :key_heads], x[:, :, key_heads:2 * key_heads], x[:, :, 2 * key_heads:]
            q, k = (item * torch.rsqrt(item.square().sum(-1, keepdim=True) + c.eps)
                    for item in (q, k))
            q, k = (item.repeat_interleave(group, 2) for item in (q * size ** -0.5, k))
            out = delta_rule(q, k, v, beta[start:end].view(rows, length, -1),
                             g[start:end].view(rows, length, -1))
            outputs.append(out.reshape(rows * length, value_heads, size))
            start = end
        out = self.ssm_norm(torch.cat(outputs)) * F.silu(gate.view(-1, value_heads, size))
        return linear(out.reshape(h.shape[0], -1), self.ssm_out, dtype)
