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


@torch.library.custom_op("sluice::unit_lower_inverse", mutates_args=())
def unit_lower_inverse(a: torch.Tensor) -> torch.Tensor:
    """(1 + a)^-1 for strictly lower triangular a [n, size, size], size a power of two: inverses of
    diagonal blocks are put together to inverses of blocks twice as large."""
    size = a.shape[-1]
    index = torch.arange(size, device=a.device)
    inverse = torch.eye(size, dtype=a.dtype, device=a.device).expand_as(a)
    block = 1
    while block < size:
        pair = index // (2 * block)
        lower = index // block % 2
        mask = (pair[:, None] == pair) & (lower[:, None] > lower)
        inverse = inverse - inverse @ (a * mask) @ inverse
        block *= 2
    return inverse.contiguous()


@unit_lower_inverse.register_fake
def _(a):
    return torch.empty_like(a)


def _inverse_context(ctx, inputs, output):
    ctx.save_for_backward(output)


def _inverse_backward(ctx, gradient):
    across = ctx.saved_tensors[0].transpose(-1, -2)
    return -(across @ gradient @ across)


unit_lower_inverse.register_autograd(_inverse_backward, setup_context=_inverse_context)


# An operator of its own: a compiler would unroll the loop, layer by layer.
@torch.library.custom_op("sluice::chunk_states", mutates_args=())
def chunk_states(values: torch.Tensor, weights: torch.Tensor, keys: torch.Tensor,
                 decay: torch.Tensor) -> torch.Tensor:
    """The state [dk, dv] before each chunk. values [n, chunks, CHUNK, dv], weights and keys
    [n, chunks, CHUNK, dk], decay [n, chunks]."""
    n, chunks, _, size = values.shape
    states = values.new_zeros(n, chunks, keys.shape[-1], size)
    # Views made at once: the loop is bound by the host, not by the device.
    before, value, weight = states.unbind(1), values.unbind(1), weights.unbind(1)
    across, factor = keys.transpose(2, 3).unbind(1), decay[..., None, None].unbind(1)
    update = torch.empty_like(value[0])
    for c in range(chunks - 1):
        torch.baddbmm(value[c], weight[c], before[c], alpha=-1, out=update)
        torch.mul(before[c], factor[c], out=before[c + 1])
        before[c + 1].baddbmm_(across[c], update)
    return states


@chunk_states.register_fake
def _(values, weights, keys, decay):
    return values.new_empty(values.shape[0], values.shape[1], keys.shape[-1], values.shape[-1])


@torch.library.custom_op("sluice::chunk_states_backward", mutates_args=())
def chunk_states_backward(
        gradient: torch.Tensor, states: torch.Tensor, values: torch.Tensor, weights: torch.Tensor,
        keys: torch.Tensor,
        decay: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    after = F.pad(gradient[:, 1:], (0, 0, 0, 0, 0, 1))  # gradient of the state after each chunk
    updates = torch.zeros_like(values)
    behind, change, key = after.unbind(1), updates.unbind(1), keys.unbind(1)
    across, factor = weights.transpose(2, 3).unbind(1), decay[..., None, None].unbind(1)
    for c in range(values.shape[1] - 2, -1, -1):
        if c < values.shape[1] - 2:
            behind[c].addcmul_(behind[c + 1], factor[c + 1])
            behind[c].baddbmm_(across[c + 1], change[c + 1], alpha=-1)
        torch.bmm(key[c], behind[c], out=change[c])
    update = values - weights @ states
    return (updates, -updates @ states.transpose(-1, -2), update @ after.transpose(-1, -2),
            (states * after).sum((-1, -2)))


@chunk_states_backward.register_fake
def _(gradient, states, values, weights, keys, decay):
    return (torch.empty_like(values), torch.empty_like(weights), torch.empty_like(keys),
            torch.empty_like(decay))


def _states_context(ctx, inputs, output):
    ctx.save_for_backward(output, *inputs)


def _states_backward(ctx, gradient):
    return chunk_states_backward(gradient.contiguous(), *ctx.saved_tensors)


chunk_states.register_autograd(_states_backward, setup_context=_states_context)


def delta_rule(q, k, v, beta, g, dtype):
    """q, k [rows, length, heads, dk] (k of length one, q scaled), v [rows, length, heads, dv], beta and
    the logarithm of the decay g <= 0 [rows, length, heads]; returns [rows, length, heads, dv].

    Inside a chunk all corrections follow from one triangular system; only the state is handed from
    chunk to chunk. Products take their inputs as `dtype`, but for those of the system and the states.
    """
    rows, length, heads, _ = q.shape
    pad = -length % CHUNK
    if pad:
        q, k, v = (F.pad(x, (0, 0, 0, 0, 0, pad)) for x in (q, k, v))
        beta, g = (F.pad(x, (0, 0, 0, pad)) for x in (beta, g))
    chunks = (length + pad) // CHUNK

    def split(x):
        return x.reshape(rows, chunks, CHUNK, heads, -1).permute(0, 3, 1, 2, 4).reshape(
            rows * heads, chunks, CHUNK, -1)

    q, k, v = split(q), split(k), split(v)
    beta, total = split(beta), split(g).cumsum(-2)
    # exp of differences only, all <= 0 below the diagonal: the factors alone would overflow.
    lower = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).tril()
    decay = (total - total.transpose(-1, -2)).masked_fill(~lower, float("-inf")).exp()

    def product(x, y):
        return x.to(dtype) @ y.to(dtype)

    across = k.transpose(-1, -2)
    system = (beta * product(k, across) * decay).tril(-1)
    inverse = unit_lower_inverse(system.view(-1, CHUNK, CHUNK)).view_as(system)
    values = product(inverse, beta * v).to(v.dtype)
    weights = product(inverse, beta * total.exp() * k).to(v.dtype)
    inside = product(q, across) * decay
    last = total[:, :, -1:]
    states = chunk_states(values, weights, (k * (last - total).exp()).contiguous(),
                          last.exp()[:, :, 0, 0].contiguous())
    update = values - product(weights, states)
    output = (product(q * total.exp(), states) + product(inside, update)).to(v.dtype)
    output = output.view(rows, heads, chunks * CHUNK, -1).transpose(1, 2)
    return output[:, :length]


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
                             g[start:end].view(rows, length, -1), dtype)
            outputs.append(out.reshape(rows * length, value_heads, size))
            start = end
        out = self.ssm_norm(torch.cat(outputs)) * F.silu(gate.view(-1, value_heads, size))
        return linear(out.reshape(h.shape[0], -1), self.ssm_out, dtype)
