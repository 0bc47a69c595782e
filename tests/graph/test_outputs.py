"""What a model returns, by name, and which of it counts: the rest follows the widths, is compared and is named."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.errors import CheckFailedError, ConfigError
from sapwood.graph import trace
from sapwood.graph.outputs import counting
from sapwood.nested import named_tensors

HALF = sapwood.Target(sparsity=0.5)

Boxes = namedtuple("Boxes", "boxes scores")


@dataclass
class Answer:
    logits: Tensor
    maps: list[Tensor]
    name: str = "no tensor"


class ModelOutput(OrderedDict[str, Any]):
    """Stands for that of transformers: it is known by its name, also from what is made of it."""


class CausalOutput(ModelOutput):
    pass


def one() -> Tensor:
    return torch.zeros(1)


def several() -> dict[str, Any]:
    return {"logits": one(), "maps": [one(), {"deep": one()}], "loss": None}


NAMED: dict[str, tuple[Any, list[str]]] = {
    "a tensor": (one(), [""]),
    "nothing": (None, []),
    "a tuple": ((one(), 3, one()), ["0", "2"]),
    "a named tuple": (Boxes(one(), one()), ["boxes", "scores"]),
    "a dictionary": (several(), ["logits", "maps.0", "maps.1.deep"]),
    "a dataclass": (Answer(one(), [one()]), ["logits", "maps.0"]),
    "a cache of layers": (
        {"cache": SimpleNamespace(layers=[SimpleNamespace(keys=one(), size=1)])},
        ["cache.layers.0.keys"],
    ),
    "a transformers output": (CausalOutput(logits=one(), past_key_values=(one(),)), ["logits", "past_key_values.0"]),
}


@pytest.mark.parametrize("kind", NAMED)
def test_every_tensor_has_a_name(kind: str) -> None:
    value, names = NAMED[kind]
    assert [name for name, _ in named_tensors(value)] == names


PICKED: dict[str, tuple[Any, list[bool]]] = {
    "a name": ("logits", [True, False, False]),
    "what a name stands in": ("maps", [False, True, True]),
    "a part": ("maps.1", [False, False, True]),
    "a glob": ("*.deep", [False, False, True]),
    "a position": (0, [True, False, False]),
    "a position of a list": (1, [False, True, True]),
    "a position in a position": ("1.0", [False, True, False]),
    "two": (["logits", "maps.0"], [True, True, False]),
    "a name and a position": (("maps.1", 0), [True, False, True]),
    "all": ("*", [True, True, True]),
    "nothing said": (None, [True, True, True]),
    "a function": (lambda result: result["maps"], [False, True, True]),
    "a function of one tensor": (lambda result: result["maps"][1]["deep"], [False, False, True]),
}


@pytest.mark.parametrize("kind", PICKED)
def test_what_counts_is_picked(kind: str) -> None:
    outputs, wanted = PICKED[kind]
    assert counting(several(), outputs) == wanted


REFUSED: dict[str, tuple[Any, str]] = {
    "a name of nothing": ("boxes", r"'boxes' is nothing that the model returns; expected one of: logits, maps\.0"),
    "a position of nothing": (7, "7 is nothing that the model returns"),
    "one of two": (["logits", "boxes"], "'boxes' is nothing that the model returns"),
    "no names": ([], r"outputs=\[\]: expected names or positions of what the model returns, or a function"),
    "a truth": ([True], r"outputs=\[True\]: expected names or positions"),
    "a number with a point": ([0.5], r"outputs=\[0\.5\]: expected names or positions"),
    "a function of nothing": (lambda result: result["loss"], "the function returns no tensor"),
    "a function of another": (lambda result: result["logits"] + 1, "or others than the model returns"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_nothing_is_refused(kind: str) -> None:
    outputs, message = REFUSED[kind]
    with pytest.raises(ConfigError, match=message):
        counting(several(), outputs)


def test_a_name_of_nothing_where_there_is_one_tensor() -> None:
    with pytest.raises(ConfigError, match=r"expected one of: \(one tensor\)"):
        counting(one(), "logits")


MEANT = {
    "a head and a cache": (["logits", "past_key_values"], [True, False]),
    "a head of an encoder and a decoder": (
        ["logits", "past_key_values", "encoder_last_hidden_state", "decoder_hidden_states", "cross_attentions"],
        [True, False, False, False, False],
    ),
    "a body": (["last_hidden_state", "pooler_output", "hidden_states"], [True, True, False]),
    "a body of two": (["last_hidden_state", "past_key_values", "encoder_last_hidden_state"], [True, False, False]),
    "pictures and texts": (
        ["logits_per_image", "text_embeds", "text_model_output", "vision_model_output"],
        [True, True, False, False],
    ),
    "a masked autoencoder": (["logits", "mask", "ids_restore"], [True, True, True]),
    "states of a recurrence": (["logits", "cache_params", "mems"], [True, False, False]),
    "experts": (["logits", "router_logits"], [True, False]),
    "nothing but a cache": (["past_key_values"], [True]),
}


@pytest.mark.parametrize("kind", MEANT)
def test_of_a_transformers_output_what_is_meant_to_be_read(kind: str) -> None:
    names, wanted = MEANT[kind]
    value = {name: one() for name in names}
    assert counting(CausalOutput(value), None) == wanted
    assert counting(value, None) == [True] * len(names), "any other container counts as a whole"
    assert counting(CausalOutput(value), "*") == [True] * len(names)


class Two(nn.Module):
    """Returns what its head makes, and what it makes of it on the way."""

    def __init__(self, kind: type = dict) -> None:
        super().__init__()
        self.kind = kind
        self.stem, self.body, self.head = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Any:
        state = torch.relu(self.body(torch.relu(self.stem(x))))
        return self.kind(logits=self.head(state), past_key_values=[state, state.sum(-1)])


def two(kind: type = dict) -> tuple[Two, Tensor]:
    torch.manual_seed(0)
    return Two(kind).eval(), torch.randn(3, 6)


def test_by_default_all_of_a_dictionary_keeps_its_sizes() -> None:
    model, x = two()
    pruned = sapwood.prune(model, x, target=HALF)
    assert pruned.model.body.out_features == 16
    assert pruned.resized_outputs == ()
    assert {one.reason for one in pruned.unpruned if one.tensor == "body.weight"} == {
        "is an output of the model: past_key_values.0"
    }


@pytest.mark.parametrize(("kind", "outputs"), [(dict, "logits"), (dict, 0), (CausalOutput, None)])
def test_what_does_not_count_follows_the_widths_and_is_named(kind: type, outputs: Any) -> None:
    model, x = two(kind)
    pruned = sapwood.prune(model, x, target=HALF, outputs=outputs)
    assert pruned.model.body.out_features == 8
    assert pruned.resized_outputs == ("past_key_values.0",)
    assert pruned.model(x)["past_key_values"][0].shape == (3, 8)
    assert pruned.model(x)["logits"].shape == (3, 4)
    assert pruned.verification.passed


def test_what_follows_is_compared_in_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compact model that makes another cache than the masked one is not right, though its answer is."""
    from sapwood.removal import proof

    right = proof.compact_outputs

    def wrong(*args: Any, **kwargs: Any) -> list[Tensor]:
        answer, state, *rest = right(*args, **kwargs)
        return [answer, state * 1.001, *rest]

    monkeypatch.setattr(proof, "compact_outputs", wrong)
    model, x = two()
    with pytest.raises(CheckFailedError, match=r"differs from the masked one by 1\.0e-03"):
        sapwood.prune(model, x, target=HALF, outputs="logits")


def test_compact_keeps_all() -> None:
    model, x = two(CausalOutput)
    with torch.no_grad():
        for layer in (model.stem, model.body):
            layer.weight[:8] = 0
            layer.bias[:8] = 0
    compacted = sapwood.compact(model, x)
    assert compacted.model.stem.out_features == 8
    wanted, found = model(x), compacted.model(x)
    assert found["past_key_values"][0].shape == (3, 16)
    torch.testing.assert_close(found["past_key_values"][0], wanted["past_key_values"][0])


def test_a_run_remembers_names_and_what_may_change() -> None:
    model, x = two()
    graph = trace(model, x, outputs="logits")
    assert graph.output_names == ("logits", "past_key_values.0", "past_key_values.1")
    assert graph.resizable == {ref.id for ref in graph.outputs[1:]}


def test_a_tensor_that_is_returned_twice_counts_where_one_does() -> None:
    class Twice(Two):
        def forward(self, x: Tensor) -> Any:
            state = torch.relu(self.stem(x))
            return {"state": state, "again": state, "logits": self.head(torch.relu(self.body(state)))}

    pruned = sapwood.prune(Twice().eval(), torch.randn(3, 6), target=HALF, outputs=["state", "logits"])
    assert pruned.model.stem.out_features == 16
    assert pruned.resized_outputs == ()
