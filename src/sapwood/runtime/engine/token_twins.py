"""What PyTorch does in place of nodes over tokens. Places are the rows of matrices there, as they are in a model."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.nodes import Size
from sapwood.runtime.engine.twins import Around, Twin, tensor_of, twin_of


@twin_of(nodes.View)
def _view(node: nodes.View, around: Around) -> Twin:
    """Steps through the memory of a map whose planes lie one after the other."""
    size, taken = around.sizes[node.out], math.prod(around.sizes[node.inputs[0]])
    first, counts, steps = node.first, node.counts, node.steps

    def run(x: Tensor) -> Tensor:
        flat = x.contiguous()
        found = flat.as_strided((len(flat), *counts), (taken, *steps), flat.storage_offset() + first)
        return found.reshape(len(flat), *size)

    return run


@twin_of(nodes.Places)
def _places(node: nodes.Places, around: Around) -> Twin:
    size = around.sizes[node.out]

    def run(*parts: Tensor) -> Tensor:
        rows = [_rows(part) for part in parts]
        batch = max(len(one) for one in rows)
        return _maps(torch.cat([one.expand(batch, -1, -1) for one in rows], 1), size)

    return run


@twin_of(nodes.Constant)
def _constant(node: nodes.Constant, around: Around) -> Twin:
    size = around.sizes[node.out]
    rows = tensor_of(node.values).t().contiguous()  # shape: (P, C)
    return lambda: _maps(rows[None], size)


@twin_of(nodes.TokenNorm)
def _norm(node: nodes.TokenNorm, around: Around) -> Twin:
    size = around.sizes[node.out]
    gains, shifts = tensor_of(node.gains), tensor_of(node.shifts)

    def run(x: Tensor) -> Tensor:
        rows = _rows(x)
        if node.centred:
            return _maps(F.layer_norm(rows, (size[0],), gains, shifts, node.epsilon), size)
        factors = torch.rsqrt(rows.square().mean(-1, keepdim=True) + node.epsilon)
        return _maps(torch.addcmul(shifts, rows * factors, gains), size)

    return run


@twin_of(nodes.Embedding)
def _embedding(node: nodes.Embedding, around: Around) -> Twin:
    size, table = around.sizes[node.out], tensor_of(node.table)
    return lambda numbers: _maps(F.embedding(numbers.long().flatten(1), table), size)


@twin_of(nodes.Attention)
def _attention(node: nodes.Attention, around: Around) -> Twin:
    size = around.sizes[node.out]
    (query_step, key_step, value_step), depths = node.steps, (node.depth, node.value_depth)
    repeats, scale, safe = node.heads // node.groups, node.scale, node.safe

    def run(queries: Tensor, keys: Tensor, values: Tensor, *masks: Tensor) -> Tensor:
        query = _heads(queries, node.heads, query_step, depths[0])
        key, value = _heads(keys, node.groups, key_step, depths[0]), _heads(values, node.groups, value_step, depths[1])
        if repeats > 1:
            key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        if not masks:
            found = F.scaled_dot_product_attention(query, key, value, scale=scale)
        else:
            (mask,) = masks
            seen = mask.reshape(len(mask), -1, key.shape[2], math.prod(mask.shape[2:]))  # shape: (B, 1 or H, K, 1 or N)
            scores = query @ key.transpose(-1, -2) * scale + seen.transpose(-1, -2)
            shares = scores.softmax(-1)
            if safe:
                shares = shares.masked_fill(scores.isneginf().all(-1, keepdim=True), 0.0)
            found = shares @ value
        return _maps(found.transpose(1, 2).flatten(2), size)

    return run


def _rows(x: Tensor) -> Tensor:
    """Shape (B, H W, C)."""
    return x.flatten(2).transpose(1, 2)


def _maps(rows: Tensor, size: Size) -> Tensor:
    """The way back, without a copy."""
    return rows.transpose(1, 2).view(len(rows), *size)


def _heads(x: Tensor, heads: int, step: int, depth: int) -> Tensor:
    """Shape (B, heads, places, depth)."""
    rows = _rows(x)
    batch, channel, place = rows.stride(0), rows.stride(2), rows.stride(1)
    sizes, strides = (len(rows), heads, rows.shape[1], depth), (batch, step * channel, place, channel)
    return rows.as_strided(sizes, strides, rows.storage_offset())
