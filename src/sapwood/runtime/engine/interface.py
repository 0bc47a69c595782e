"""What Python and the library say to each other: the structs and values of ``csrc/sapwood_engine.h``.

Each of them stands here and there. When the library is loaded, it tells what it was compiled with (``sw_facts``), and
:func:`disagreements` names what differs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from enum import IntEnum

import numpy as np

ABI = 8
"""What this Python code expects of the library."""

ALIGN = 64
"""Bytes of a cache line: planes start on one."""

STRIP = 4096
"""The largest strip of a depthwise convolution, in floats."""

LARGEST = 2**28
"""The largest size that a map may have."""


class OpKind(IntEnum):
    """``sw_kind``: operations."""

    PACK = 0
    UNPACK = 1
    CONV = 2
    PHASES = 3
    MAXPOOL = 4
    AVGPOOL = 5
    UPSAMPLE = 6
    ADD = 7
    MUL = 8
    COPY = 9
    DEPTHWISE = 10
    CHAIN = 11
    VIEW = 12
    CONSTANT = 13
    NORM = 14
    ATTENTION = 15
    EMBED = 16


class RunResult(IntEnum):
    """``sw_result``: what a run says."""

    DONE = 0
    NO_THREADS = -1
    WRONG_PICTURES = -2
    WRONG_ROW = -3


ACTIVATIONS = {
    "linear": 0,
    "leaky": 1,
    "silu": 2,
    "mish": 3,
    "hardswish": 4,
    "sigmoid": 5,
    "tanh": 6,
    "relu6": 7,
    "hardsigmoid": 8,
    "gelu": 9,
    "gelu_tanh": 10,
}
"""``sw_activation`` by name; ReLU is ``leaky`` of slope 0."""

ENTRY = np.dtype([("offset", np.int32), ("value", np.float32)])
"""``sw_entry``."""


class MapStruct(ctypes.Structure):
    """``sw_map``."""

    _fields_ = (
        ("offset", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("channels", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("margin", ctypes.c_int32),
        ("pitch", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class PackStruct(ctypes.Structure):
    """``sw_pack``."""

    _fields_ = (
        ("index", ctypes.c_int32),
        ("phased", ctypes.c_int32),
        ("step", ctypes.c_int32 * 2),
        ("channels", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
    )


class UnpackStruct(ctypes.Structure):
    """``sw_unpack``."""

    _fields_ = (("index", ctypes.c_int32),)


class PhasesStruct(ctypes.Structure):
    """``sw_phases``."""

    _fields_ = (("step", ctypes.c_int32 * 2),)


class PoolStruct(ctypes.Structure):
    """``sw_pool``."""

    _fields_ = (
        ("kernel", ctypes.c_int32 * 2),
        ("step", ctypes.c_int32 * 2),
        ("pad", ctypes.c_int32 * 2),
        ("all_places", ctypes.c_int32),
    )


class UpsampleStruct(ctypes.Structure):
    """``sw_upsample``."""

    _fields_ = (("step", ctypes.c_int32 * 2),)


class ConvStruct(ctypes.Structure):
    """``sw_conv``."""

    _fields_ = (
        ("phased", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("columns", ctypes.c_int32),
        ("num_chunks", ctypes.c_int32),
        ("groups", ctypes.c_int32),
        ("starts", ctypes.c_void_p),
        ("entries", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("num_starts", ctypes.c_int64),
        ("num_entries", ctypes.c_int64),
        ("num_bias", ctypes.c_int64),
        ("weights", ctypes.c_void_p),
        ("num_weights", ctypes.c_int64),
        ("by_channels", ctypes.c_int32),
        ("stays", ctypes.c_int32),
    )


class DepthwiseStruct(ctypes.Structure):
    """``sw_depthwise``."""

    _fields_ = (
        ("multiplier", ctypes.c_int32),
        ("kernel", ctypes.c_int32 * 2),
        ("step", ctypes.c_int32 * 2),
        ("pad", ctypes.c_int32 * 2),
        ("dilation", ctypes.c_int32 * 2),
        ("strip", ctypes.c_int32),
        ("weights", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("num_weights", ctypes.c_int64),
        ("num_bias", ctypes.c_int64),
    )


class ChainStruct(ctypes.Structure):
    """``sw_chain``."""

    _fields_ = (("count", ctypes.c_int32), ("rows", ctypes.c_int32))


class ViewStruct(ctypes.Structure):
    """``sw_view``."""

    _fields_ = (
        ("first", ctypes.c_int64),
        ("step", ctypes.c_int64 * 4),
        ("count", ctypes.c_int32 * 4),
        ("at", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class ConstantStruct(ctypes.Structure):
    """``sw_constant``."""

    _fields_ = (
        ("values", ctypes.c_void_p),
        ("num_values", ctypes.c_int64),
        ("at", ctypes.c_int32),
        ("count", ctypes.c_int32),
    )


class NormStruct(ctypes.Structure):
    """``sw_norm``."""

    _fields_ = (
        ("factors", ctypes.c_void_p),
        ("shifts", ctypes.c_void_p),
        ("num_factors", ctypes.c_int64),
        ("num_shifts", ctypes.c_int64),
        ("epsilon", ctypes.c_float),
        ("centred", ctypes.c_int32),
    )


class AttentionStruct(ctypes.Structure):
    """``sw_attention``."""

    _fields_ = (
        ("value", MapStruct),
        ("mask", MapStruct),
        ("heads", ctypes.c_int32),
        ("groups", ctypes.c_int32),
        ("depth", ctypes.c_int32),
        ("value_depth", ctypes.c_int32),
        ("step", ctypes.c_int32 * 3),
        ("safe", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("reserved", ctypes.c_int32),
    )


class EmbedStruct(ctypes.Structure):
    """``sw_embed``."""

    _fields_ = (
        ("table", ctypes.c_void_p),
        ("num_values", ctypes.c_int64),
        ("rows", ctypes.c_int32),
        ("stays", ctypes.c_int32),
    )


class OpStruct(ctypes.Structure):
    """``sw_op``."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("slope", ctypes.c_float),
        ("reserved", ctypes.c_int32),
        ("in_", MapStruct),
        ("other", MapStruct),
        ("out", MapStruct),
        ("pack", PackStruct),
        ("unpack", UnpackStruct),
        ("phases", PhasesStruct),
        ("pool", PoolStruct),
        ("upsample", UpsampleStruct),
        ("conv", ConvStruct),
        ("depthwise", DepthwiseStruct),
        ("chain", ChainStruct),
        ("view", ViewStruct),
        ("constant", ConstantStruct),
        ("norm", NormStruct),
        ("attention", AttentionStruct),
        ("embed", EmbedStruct),
    )


class PictureStruct(ctypes.Structure):
    """``sw_picture``."""

    _fields_ = (("values", ctypes.c_void_p), ("floats", ctypes.c_int64))


class TapStruct(ctypes.Structure):
    """``sw_tap``."""

    _fields_ = (
        ("offset", ctypes.c_int64),
        ("number", ctypes.c_int32),
        ("phase", ctypes.c_int32),
        ("list", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class WeightsStruct(ctypes.Structure):
    """``sw_weights``."""

    _fields_ = (
        ("values", ctypes.c_void_p),
        ("outputs", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        ("plane_bytes", ctypes.c_int64),
        ("at_once", ctypes.c_int64),
        ("num_chunks", ctypes.c_int64),
        ("taps", ctypes.POINTER(TapStruct)),
        ("num_taps", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class FactStruct(ctypes.Structure):
    """``sw_fact``."""

    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_int64))


BLOCKS: Mapping[int, str] = {
    OpKind.PACK: "pack",
    OpKind.UNPACK: "unpack",
    OpKind.CONV: "conv",
    OpKind.PHASES: "phases",
    OpKind.MAXPOOL: "pool",
    OpKind.AVGPOOL: "pool",
    OpKind.UPSAMPLE: "upsample",
    OpKind.DEPTHWISE: "depthwise",
    OpKind.CHAIN: "chain",
    OpKind.VIEW: "view",
    OpKind.CONSTANT: "constant",
    OpKind.NORM: "norm",
    OpKind.ATTENTION: "attention",
    OpKind.EMBED: "embed",
}
"""The field of :class:`OpStruct` that a kind has to itself, for those that have one."""

STRUCTS: Mapping[str, type[ctypes.Structure]] = {
    "sw_map": MapStruct,
    "sw_pack": PackStruct,
    "sw_unpack": UnpackStruct,
    "sw_phases": PhasesStruct,
    "sw_pool": PoolStruct,
    "sw_upsample": UpsampleStruct,
    "sw_conv": ConvStruct,
    "sw_depthwise": DepthwiseStruct,
    "sw_chain": ChainStruct,
    "sw_view": ViewStruct,
    "sw_constant": ConstantStruct,
    "sw_norm": NormStruct,
    "sw_attention": AttentionStruct,
    "sw_embed": EmbedStruct,
    "sw_op": OpStruct,
    "sw_picture": PictureStruct,
    "sw_tap": TapStruct,
    "sw_weights": WeightsStruct,
}
"""By the names that they have in the library."""


def own_facts() -> dict[str, int]:
    """What Python takes for granted: sizes of structs, places of fields, and values.

    Examples:
        >>> facts = own_facts()
        >>> facts["sizeof sw_map"], facts["offsetof sw_map.pitch"], facts["SW_CONV"]
        (40, 32, 2)
    """
    facts = {
        "SW_ALIGN": ALIGN,
        "SW_STRIP": STRIP,
        "SW_LARGEST": LARGEST,
        "SW_NUM_KINDS": len(OpKind),
        "SW_NUM_ACTIVATIONS": len(ACTIVATIONS),
    }
    facts |= {f"SW_{one.name}": int(one) for values in (OpKind, RunResult) for one in values}
    facts |= {f"SW_{name.upper()}": value for name, value in ACTIVATIONS.items()}
    facts |= {"sizeof sw_entry": ENTRY.itemsize}
    facts |= {f"offsetof sw_entry.{name}": found[1] for name, found in (ENTRY.fields or {}).items()}
    for name, struct in STRUCTS.items():
        facts[f"sizeof {name}"] = ctypes.sizeof(struct)
        for name_of_field in (field[0] for field in struct._fields_):
            place = getattr(struct, name_of_field).offset
            facts[f"offsetof {name}.{name_of_field.rstrip('_')}"] = place
    return facts


def disagreements(theirs: Mapping[str, int]) -> list[str]:
    """Where the library's facts are not Python's, in words.

    Examples:
        >>> disagreements(own_facts())
        []
        >>> disagreements(own_facts() | {"SW_CONV": 3, "SW_FFT": 10})
        ['SW_CONV is 3, expected 2', 'SW_FFT is 10, expected none']
    """
    own = own_facts()
    names = [*theirs, *(name for name in own if name not in theirs)]
    return [
        f"{name} is {theirs.get(name, 'not there')}, expected {own.get(name, 'none')}"
        for name in names
        if theirs.get(name) != own.get(name)
    ]
