# SPDX-License-Identifier: Apache-2.0
"""Optimizers and quantisation-aware rounding."""

import torch

import quantize


class Muon:
    """Momentum with orthogonalised updates for matrices: each update is replaced by an approximation
    of the nearest orthogonal matrix (five Newton-Schulz steps), scaled to the root mean square that
    AdamW's updates have, so both share one learning rate. Stacks are treated matrix by matrix."""

    COEFFICIENTS = (3.4445, -4.7750, 2.0315)

    def __init__(self, parameters, momentum=0.95, decay=0.05):
        self.momentum, self.decay = momentum, decay
        self.groups = {}
        for parameter in parameters:
            self.groups.setdefault(tuple(parameter.shape), []).append(parameter)
        self.buffers = {shape: torch.zeros((len(group),) + shape, device=group[0].device)
                        for shape, group in self.groups.items()}

    def orthogonalise(self, matrices):
        a, b, c = self.COEFFICIENTS
        x = matrices.reshape((-1,) + matrices.shape[-2:])
        tall = x.shape[-2] > x.shape[-1]
        x = (x.transpose(-1, -2) if tall else x)
        x = x / (x.square().sum((-1, -2), keepdim=True).sqrt() + 1e-7)
        x = x.bfloat16() if x.is_cuda else x
        for _ in range(5):
            gram = x @ x.transpose(-1, -2)
            x = a * x + (b * gram + c * gram @ gram) @ x
        x = x.transpose(-1, -2) if tall else x
        return x.float().reshape(matrices.shape)

    @torch.no_grad()
    def step(self, rate):
        """rate: a number, or a tensor of one."""
        for shape, group in self.groups.items():
            gradient = torch.stack([parameter.grad for parameter in group])
            buffer = self.buffers[shape]
            buffer.lerp_(gradient, 1 - self.momentum)
            update = self.orthogonalise(gradient.lerp(buffer, self.momentum))
            scale = 0.2 * max(shape[-2:]) ** 0.5
            for parameter, item in zip(group, update):
                parameter.mul_(1 - rate * self.decay).sub_(item * (rate * scale))


class Optimizer:
    """Muon for the matrices inside the layers; AdamW for embedding, head, routers and vectors."""

    def __init__(self, model, rate, fused):
        matrices, tables, vectors = [], [], []
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2 or name.endswith("ssm_conv1d"):
                vectors.append(parameter)
            elif name.startswith(("layers.", "draft.")) and "ffn_gate_inp" not in name and "ssm_ba" not in name:
                matrices.append(parameter)
            else:
                tables.append(parameter)
        self.highest = rate
        # On a GPU a tensor, so that a recorded step can be replayed with another rate.
        self.rate = torch.zeros((), device=tables[0].device) if fused else 0.0
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(
            [{"params": tables, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
            lr=self.rate, betas=(0.9, 0.95), eps=1e-10,
            **({"fused": True, "capturable": True} if fused else {}))

    def set_rate(self, factor):
        """The next steps are made at `factor` times the highest learning rate."""
        if isinstance(self.rate, torch.Tensor):
            self.rate.fill_(self.highest * factor)
            return
        self.rate = self.highest * factor
        for group in self.adam.param_groups:
            group["lr"] = self.rate

    def step(self):
        self.adam.step()
        self.muon.step(self.rate)


class StraightThrough:
    """Quantisation-aware training: within the context the weights are what a reader of the quantised
    file will see; gradients taken there are applied to the unrounded weights, which come back."""

    def __init__(self, named_tensors, types):
        self.groups = {}
        for name, tensor in named_tensors:
            if types[name] in quantize.ENCODE:
                self.groups.setdefault(types[name], []).append(tensor)
        self.saved = {}

    @torch.no_grad()
    def __enter__(self):
        for kind, tensors in self.groups.items():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            self.saved[kind] = flat
            self.write(tensors, quantize.round_trip(flat, kind))

    @torch.no_grad()
    def __exit__(self, *_):
        for kind, tensors in self.groups.items():
            self.write(tensors, self.saved.pop(kind))

    @staticmethod
    def write(tensors, flat):
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start:start + tensor.numel()].view_as(tensor))
            start += tensor.numel()
