"""What is declared of operators: true of every one that has a rule, and of nothing else."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
import torchvision  # registers its operators

from sapwood.ops import RULES
from sapwood.ops.facts import FACTS, UNKNOWN, Facts, note

WITHOUT_RULE = {"torchvision.nms"}
"""A choice that nothing prunable may reach: a barrier, by design."""


def operator(name: str) -> torch._ops.OpOverloadPacket | None:
    assert torchvision.__version__
    library, _, plain = name.partition(".")
    return getattr(getattr(torch.ops, library), plain, None)


def test_facts_are_of_operators_that_have_a_rule() -> None:
    assert set(FACTS) - set(RULES) == WITHOUT_RULE


@pytest.mark.parametrize("name", sorted(name for name in FACTS if operator(name) is not None))
def test_places_of_operands_are_those_of_the_schema(name: str) -> None:
    facts, packet = FACTS[name], operator(name)
    assert packet is not None
    names = [argument.name for argument in getattr(packet, packet.overloads()[0])._schema.arguments]
    if facts.sum is not None:
        assert names[facts.sum.source] in {"input", "self", "query", "mat1", "batch1", "mat"}
        assert names[facts.sum.weight] in {"weight", "mat2", "other", "key", "vec", "batch2", "tensor"}
        assert facts.sum.bias is None or names[facts.sum.bias] in {"bias", "self"}
    if facts.norm is not None:
        assert names[facts.norm.weight] == "weight"
    if facts.groups_at is not None:
        assert names[facts.groups_at] in {"groups", "group", "num_groups"}
    if facts.scales is not None:
        assert names[1] == "other"
    if facts.gain is not None:
        assert names[facts.gain] == "g"


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_channel_passes_or_is_combined_in_a_way_that_is_known(name: str) -> None:
    facts = FACTS[name]
    says = facts.pools is not None
    assert says or not facts.on_kept, "what runs on kept indices has to say which dimensions it pools"
    assert facts.sum is None or (facts.spreads == "all" and not says), "a sum is not pooled as well"
    assert facts.passes or not (facts.moves or facts.in_place), "what is moved keeps to itself"


def test_facts_add_up() -> None:
    try:
        note("test.one", moves=True)
        note("test.one", chooses=True)
        assert FACTS["test.one"] == Facts(moves=True, chooses=True)
    finally:
        del FACTS["test.one"]


def test_nothing_is_assumed_of_an_unknown_operator() -> None:
    assert UNKNOWN.spreads == "all"
    assert not any(getattr(UNKNOWN, field.name) for field in fields(Facts) if field.name != "spreads")
