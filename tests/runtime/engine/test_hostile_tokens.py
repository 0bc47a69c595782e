"""Networks of tokens that somebody else's program wrote: parts that disagree are refused, as in ``test_hostile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.runtime import compile as compile_model
from sapwood.runtime import load
from support.forging import Change, forged, node, refused, resized

pytestmark = pytest.mark.usefixtures("engine")


class Tokens(nn.Module):
    """A node of each kind that is of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm, self.layer = nn.Embedding(9, 6), nn.LayerNorm(6), nn.Linear(6, 12)
        self.first = nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        x = torch.cat([self.first, self.table(words)], 1)
        x = self.norm(x + torch.linspace(0.0, 1.0, 24).view(1, 4, 6))
        k, v = self.layer(x).chunk(2, -1)
        q, k, v = (one.view(1, 4, 2, 3).transpose(1, 2) for one in (x, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(1, 4, 6)


INPUTS = torch.tensor([[1, 8, 0]]), torch.randn(1, 2, 4, 4)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    compiled = compile_model(Tokens().eval(), INPUTS, threads=1, tune=False)
    return compiled.save(tmp_path_factory.mktemp("hostile") / "saved")


def test_what_was_written_is_read(written: Path, tmp_path: Path) -> None:
    one, other = load(written, threads=1), load(forged(written, tmp_path / "f", lambda _: None), threads=1)
    assert torch.equal(one(*INPUTS), other(*INPUTS))


def put(kind: str, **values: Any) -> Change:
    return lambda content: node(content, kind).update(values)


def lower(content: dict[str, Any], kind: str, name: str) -> None:
    """An array takes another one's name."""
    node(content, kind)[name] = node(content, "Constant")["values"]


@pytest.mark.parametrize(("change", "message"), [
    (put("View", first=1), "it does not fit its maps"),
    (put("View", first=-1), "-1; expected a whole number from 0"),
    (put("View", first=2**40), "expected a whole number from 0 to"),
    (put("View", counts=[1, 1, 1, 0]), "0; expected a whole number from 1"),
    (put("View", counts=[1, 4, 1]), "not enough values to unpack"),
    (put("View", counts=[1, 2, 1, 2]), "it does not fit its maps"),
    (put("View", steps=[0, 1000, 0, 1000]), "it does not fit its maps"),
    (put("View", steps=[0, 0, 0, -1]), "-1; expected a whole number from 0"),
    (put("View", inputs=[]), "it is made of 0 values; expected 1"),
    (lambda content: resized(content, "Places", [6, 1, 5]), "it does not fit its maps"),
    (put("Places", inputs=[]), "it is not made of maps"),
    (lambda content: resized(content, "Constant", [6, 1, 2]), r"numbers of shape \(6, 1\) for a map of \(6, 1, 2\)"),
    (put("Constant", inputs=[0]), "it is made of 1 values; expected 0"),
    (lambda content: lower(content, "TokenNorm", "gains"), r"gains of \(6, 1\), shifts of \(6,\), epsilon"),
    (lambda content: lower(content, "TokenNorm", "shifts"), r"gains of \(6,\), shifts of \(6, 1\), epsilon"),
    (put("TokenNorm", epsilon=-1.0), "epsilon -1"),
    (put("TokenNorm", epsilon={"float": "nan"}), "expected a finite number"),
    (put("TokenNorm", centred=1), "1; expected true or false"),
    (put("Attention", heads=3), "3 heads over 2 of keys"),
    (put("Attention", heads=4), "it does not fit its maps"),
    (put("Attention", heads=0), "0; expected a whole number from 1"),
    (put("Attention", groups=3), "2 heads over 3 of keys"),
    (put("Attention", depth=4), "it does not fit its maps"),
    (put("Attention", value_depth=4), "it does not fit its maps"),
    (put("Attention", steps=[4, 3, 3]), "it does not fit its maps"),
    (put("Attention", steps=[3, 3]), "not enough values to unpack"),
    (put("Attention", scale=1e31), "scale 1e.31"),
    (put("Attention", safe=None), "None; expected true or false"),
    (put("Attention", inputs=[0, 0]), "it is made of 2 values; expected 3 or 4"),
    (lambda content: lower(content, "Embedding", "table"), r"a table of shape \(6, 1\) for a map of"),
    (lambda content: resized(content, "Embedding", [6, 1, 2]), "it does not fit its maps"),
    (lambda content: content["dtypes"].__setitem__(0, "float32"), "numbers of rows that are an input of another type"),
    (lambda content: content["dtypes"].__setitem__(1, "int64"), "a map that is an input of another type"),
])  # fmt: skip
def test_parts_that_disagree_are_refused(change: Change, message: str, written: Path, tmp_path: Path) -> None:
    refused(written, tmp_path / "f", change, message)
