# SPDX-License-Identifier: Apache-2.0
"""Q4_K, Q6_K and Q8_0 blocks of GGUF, on whole tensors with PyTorch.

encode_*: [n, block] float32 -> dictionary of the block's integer fields; decode_*: back to float32,
with the operations in the order that readers of the format use; pack_*: to the file's bytes.
"""

import torch

F32, BF16, Q8_0, Q4_K, Q6_K = 0, 30, 8, 12, 14
BLOCK = {F32: 1, BF16: 1, Q8_0: 32, Q4_K: 256, Q6_K: 256}
NAMES = {F32: "F32", BF16: "BF16", Q8_0: "Q8_0", Q4_K: "Q4_K", Q6_K: "Q6_K"}


def _safe_inverse(x):
    return torch.where(x == 0, torch.zeros_like(x), 1 / torch.where(x == 0, torch.ones_like(x), x))


def _fit_affine(x, candidates):
    """Per group of 32 the step a >= 0 and offset b <= 0 with the least squared error of a q + b."""
    low = x.amin(-1, keepdim=True).clamp(max=0)
    span = x.amax(-1, keepdim=True).clamp(min=0) - low
    best_error = torch.full_like(low, float("inf"))
    best_a, best_b = torch.zeros_like(low), torch.zeros_like(low)
    sum_x = x.sum(-1, keepdim=True)
    count = x.shape[-1]
    for levels in candidates:
        q = ((x - low) * (levels * _safe_inverse(span))).round().clamp(0, 15)
        sum_q, sum_qq = q.sum(-1, keepdim=True), (q * q).sum(-1, keepdim=True)
        sum_qx = (q * x).sum(-1, keepdim=True)
        a = (count * sum_qx - sum_q * sum_x) * _safe_inverse(count * sum_qq - sum_q * sum_q)
        b = (sum_x - a * sum_q) / count
        positive = b > 0
        a = torch.where(positive, sum_qx * _safe_inverse(sum_qq), a).clamp(min=0)
        b = b.clamp(max=0)
        error = (a * q + b - x).square().sum(-1, keepdim=True)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_a, best_b = torch.where(better, a, best_a), torch.where(better, b, best_b)
    return best_a.squeeze(-1), best_b.squeeze(-1)


def encode_q4_k(x, candidates=(13.5, 14.0, 14.5, 15.0, 15.5, 16.0, 17.0)):
    groups = x.reshape(-1, 8, 32)
    a, b = _fit_affine(groups, candidates)
    d = (a.amax(-1, keepdim=True) / 63).half()
    dmin = ((-b).amax(-1, keepdim=True) / 63).half()
    scale = (a * _safe_inverse(d.float())).round().clamp(0, 63)
    low = (-b * _safe_inverse(dmin.float())).round().clamp(0, 63)
    step = (d.float() * scale)[..., None]
    q = ((groups + (dmin.float() * low)[..., None]) * _safe_inverse(step)).round().clamp(0, 15)
    return {"d": d, "dmin": dmin, "scale": scale, "low": low, "q": q}


def decode_q4_k(fields):
    step = (fields["d"].float() * fields["scale"])[..., None]
    low = (fields["dmin"].float() * fields["low"])[..., None]
    return (step * fields["q"] - low).reshape(-1, 256)


def _half_bytes(x):
    return x.contiguous().view(torch.uint8).reshape(x.shape[0], 2)


def pack_q4_k(fields):
    s, z = fields["scale"].to(torch.uint8), fields["low"].to(torch.uint8)
    first = s[:, :4] | ((s[:, 4:] >> 4) << 6)
    second = z[:, :4] | ((z[:, 4:] >> 4) << 6)
    third = (s[:, 4:] & 15) | ((z[:, 4:] & 15) << 4)
    q = fields["q"].to(torch.uint8).reshape(-1, 4, 2, 32)
    nibbles = (q[:, :, 0] | (q[:, :, 1] << 4)).reshape(-1, 128)
    return torch.cat((_half_bytes(fields["d"]), _half_bytes(fields["dmin"]), first, second, third,
                      nibbles), 1)


def encode_q6_k(x, candidates=(30.0, 31.0, 32.0, 33.0)):
    groups = x.reshape(-1, 16, 16)
    index = groups.abs().argmax(-1, keepdim=True)
    peak = groups.gather(-1, index)
    best_error = torch.full_like(peak, float("inf"))
    best = torch.zeros_like(peak)
    for levels in candidates:
        q = (groups * (-levels * _safe_inverse(peak))).round().clamp(-32, 31)
        a = (q * groups).sum(-1, keepdim=True) * _safe_inverse((q * q).sum(-1, keepdim=True))
        error = (a * q - groups).square().sum(-1, keepdim=True)
        better = error < best_error
        best_error, best = torch.where(better, error, best_error), torch.where(better, a, best)
    a = best.squeeze(-1)
    d = (a.abs().amax(-1, keepdim=True) / 127).half()
    scale = (a * _safe_inverse(d.float())).round().clamp(-128, 127)
    q = (groups * _safe_inverse((d.float() * scale)[..., None])).round().clamp(-32, 31)
    return {"d": d, "scale": scale, "q": q}


def decode_q6_k(fields):
    return ((fields["d"].float() * fields["scale"])[..., None] * fields["q"]).reshape(-1, 256)


def pack_q6_k(fields):
    q = (fields["q"] + 32).to(torch.uint8).reshape(-1, 2, 4, 32)
    low, high = q & 15, q >> 4
    ql = torch.cat((low[:, :, 0] | (low[:, :, 2] << 4), low[:, :, 1] | (low[:, :, 3] << 4)), -1)
    qh = high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)
    scale = fields["scale"].to(torch.int8).contiguous().view(torch.uint8)
    return torch.cat((ql.reshape(-1, 128), qh.reshape(-1, 64), scale, _half_bytes(fields["d"])), 1)


def encode_q8_0(x):
    d = x.abs().amax(-1, keepdim=True) / 127
    return {"d": d.half(), "q": (x * _safe_inverse(d)).round().clamp(-127, 127)}


def decode_q8_0(fields):
    return fields["d"].float() * fields["q"]


def pack_q8_0(fields):
    q = fields["q"].to(torch.int8).contiguous().view(torch.uint8)
    return torch.cat((_half_bytes(fields["d"]), q), 1)


ENCODE = {Q4_K: encode_q4_k, Q6_K: encode_q6_k, Q8_0: encode_q8_0}
DECODE = {Q4_K: decode_q4_k, Q6_K: decode_q6_k, Q8_0: decode_q8_0}
PACK = {Q4_K: pack_q4_k, Q6_K: pack_q6_k, Q8_0: pack_q8_0}


def round_trip(x, kind):
    """x as a reader of the file sees it after storing it as `kind`."""
    if kind == F32:
        return x
    if kind == BF16:
        return x.bfloat16().float()
    return DECODE[kind](ENCODE[kind](x.float().reshape(-1, BLOCK[kind]))).reshape(x.shape)


def to_bytes(x, kind):
    if kind == F32:
        return x.float().cpu().contiguous().numpy().tobytes()
    if kind == BF16:
        return x.bfloat16().cpu().contiguous().view(torch.int16).numpy().tobytes()
    return PACK[kind](ENCODE[kind](x.float().cpu().reshape(-1, BLOCK[kind]))).numpy().tobytes()


def more_bits(index, count):
    """The positions that the Q4_K_M mix stores with Q6_K."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def keeps_precision(name, tensor):
    """Tensors that no mix quantises."""
    return tensor.dim() < 2 or not name.endswith(".weight") or any(
        part in name for part in ("_norm.weight", "ffn_gate_inp", "ssm_conv1d"))


def plan(tensors, config, mix):
    """{name: type} for mix "bf16", "q8_0" or "q4_k_m"; tensors as of model.gguf_tensors."""
    output, value_index = {}, 0
    value_count = sum(1 for name, _ in tensors if ".attn_v." in name or ".attn_qkv." in name)
    for name, tensor in tensors:
        kind = {"bf16": BF16, "q8_0": Q8_0, "q4_k_m": Q4_K}[mix]
        if keeps_precision(name, tensor):
            kind = F32
        elif mix == "q4_k_m":
            if name == "output.weight":
                kind = Q6_K
            elif ".attn_v." in name or ".attn_qkv." in name:
                kind = Q6_K if more_bits(value_index, value_count) else Q4_K
                value_index += 1
            elif ".ffn_down" in name:
                kind = Q6_K if more_bits(int(name.split(".")[1]), config.layers + config.draft_layers) else Q4_K
            if tensor.shape[-1] % BLOCK[kind] != 0:
                kind = Q8_0
        output[name] = kind
    return output
