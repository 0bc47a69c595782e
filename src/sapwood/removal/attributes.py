"""Attributes of known modules that name a width: after the tensors are cut they are read off the tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from sapwood.models import AttributeEdit, Cut, module_of


def _attention_values(module: nn.MultiheadAttention) -> dict[str, Any]:
    rows = module.q_proj_weight if module.in_proj_weight is None else module.in_proj_weight
    embed_dim = rows.shape[1]
    values = {"embed_dim": embed_dim, "head_dim": embed_dim // module.num_heads}
    if module.k_proj_weight is None:
        return {**values, "kdim": embed_dim, "vdim": embed_dim}
    return {**values, "kdim": module.k_proj_weight.shape[1], "vdim": module.v_proj_weight.shape[1]}


def _first(*values: Any) -> int:
    for value in values:
        if value is not None:
            return int(value) if isinstance(value, int) else int(value.shape[0])
    raise ValueError("no width")


def _recurrent_values(module: Any) -> dict[str, Any]:
    first = module.weight_ih_l0
    projected = {"proj_size": module.weight_hr_l0.shape[0]} if module.proj_size else {}
    return {"input_size": first.shape[1], "hidden_size": first.shape[0] // GATES[module.mode], **projected}


GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
"""How many rows of a recurrent layer's weight make one of its units."""


def _cell_values(module: Any) -> dict[str, Any]:
    return {"input_size": module.weight_ih.shape[1], "hidden_size": module.weight_hh.shape[1]}


RULES: tuple[tuple[type, Callable[[Any], dict[str, Any]]], ...] = (
    (nn.Linear, lambda m: {"in_features": m.weight.shape[1], "out_features": m.weight.shape[0]}),
    (nn.Bilinear, lambda m: dict(zip(("out_features", "in1_features", "in2_features"), m.weight.shape, strict=True))),
    (_NormBase, lambda m: {"num_features": _first(m.weight, m.running_mean, m.num_features)}),
    (nn.LayerNorm, lambda m: {"normalized_shape": tuple(m.weight.shape)} if m.weight is not None else {}),
    (nn.GroupNorm, lambda m: {"num_channels": _first(m.weight, m.num_channels)}),
    (nn.Embedding, lambda m: {"embedding_dim": m.weight.shape[1]}),
    (nn.MultiheadAttention, _attention_values),
    (nn.RNNBase, _recurrent_values),
    (nn.RNNCellBase, _cell_values),
    (nn.PReLU, lambda m: {"num_parameters": m.weight.shape[0]}),
)


def read_off(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module that are read off its tensors, those of PyTorch's own classes, as they should be."""
    values = _convolution_values(module, module.groups) if isinstance(module, _ConvNd) else {}
    for kind, read in RULES:
        if isinstance(module, kind):
            values.update(read(module))
    return values


def fix_known_attributes_(model: nn.Module, cuts: tuple[Cut, ...], groups: Mapping[str, int]) -> list[AttributeEdit]:
    """Sets the width attributes of modules that PyTorch itself defines (and of their subclasses).

    Args:
        model: The model with its tensors already cut.
        cuts: What was cut.
        groups: Module name -> groups that stay, for the grouped convolutions and group norms of the recorded run.

    Returns:
        What was changed.
    """
    edits = []
    touched = {cut.tensor.rpartition(".")[0] for cut in cuts} | set(groups)
    for name in sorted(touched):
        module: Any = module_of(model, name)
        values: dict[str, Any] = {}
        if isinstance(module, _ConvNd):
            values = _convolution_values(module, groups.get(name, module.groups))
        if isinstance(module, nn.GroupNorm):
            values = {"num_groups": groups.get(name, module.num_groups)}
        for kind, read in RULES:
            if isinstance(module, kind):
                values.update(read(module))
        for attribute, after in values.items():
            before = getattr(module, attribute, None)
            if before is not None and before != after:
                setattr(module, attribute, after)
                edits.append(AttributeEdit(name, attribute, before, after))
    return edits


def _convolution_values(module: Any, groups: int) -> dict[str, Any]:
    first, second = module.weight.shape[:2]
    if isinstance(module, _ConvTransposeNd):
        return {"in_channels": first, "out_channels": second * groups, "groups": groups}
    return {"in_channels": second * groups, "out_channels": first, "groups": groups}
