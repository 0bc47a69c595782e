"""Plans as JSON: every number exact, tuples come back as tuples, and what does not fit is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import pydantic
import torch

from sapwood.errors import SavedModelError
from sapwood.models.plan import (
    AttributeEdit,
    Cut,
    Factored,
    Gain,
    Gives,
    Merge,
    Plan,
    Removal,
    Rescale,
    Shift,
    Shortened,
)

_Index = Annotated[pydantic.StrictInt, pydantic.Field(ge=0)]
_STRICT = pydantic.ConfigDict(extra="forbid")
_TUPLES: dict[str, Any] = {"tuple": tuple, "torch.Size": torch.Size}


class _Cut(pydantic.BaseModel):
    model_config = _STRICT
    tensor: str
    dim: _Index
    width: Annotated[pydantic.StrictInt, pydantic.Field(ge=1)]
    kept: tuple[pydantic.StrictInt, ...] = pydantic.Field(min_length=1)

    @pydantic.field_validator("kept")
    @classmethod
    def _each_once(cls, kept: tuple[int, ...], info: pydantic.ValidationInfo) -> tuple[int, ...]:
        width = info.data.get("width", 0)
        if len(set(kept)) != len(kept) or min(kept) < 0 or max(kept) >= width:
            raise ValueError(f"expected indices from 0 to {width - 1}, each at most once")
        return kept


class _Edit(pydantic.BaseModel):
    model_config = _STRICT
    module: str
    attribute: str = pydantic.Field(pattern=r"^_?[A-Za-z]\w*(\.[A-Za-z]\w*)*(\[\d+\])?$")
    before: Any
    after: Any


class _Rescale(pydantic.BaseModel):
    model_config = _STRICT
    tensor: str
    rows: tuple[_Index, ...]
    factor: pydantic.FiniteFloat


class _Shift(pydantic.BaseModel):
    model_config = _STRICT
    tensor: str
    values: tuple[pydantic.FiniteFloat, ...] = pydantic.Field(min_length=1)


class _Merge(pydantic.BaseModel):
    model_config = _STRICT
    tensor: str
    dim: _Index
    into: _Index
    sources: tuple[_Index, ...] = pydantic.Field(min_length=1)
    factors: tuple[pydantic.FiniteFloat, ...]


class _Gain(pydantic.BaseModel):
    model_config = _STRICT
    tensor: str
    of: str
    dim: _Index


class _Removal(pydantic.BaseModel):
    model_config = _STRICT
    module: str
    gives: Gives
    entries: Annotated[pydantic.StrictInt, pydantic.Field(ge=1)] | None


class _Shortened(pydantic.BaseModel):
    model_config = _STRICT
    list: str
    size: Annotated[pydantic.StrictInt, pydantic.Field(ge=1)]
    kept: tuple[_Index, ...] = pydantic.Field(min_length=1)

    @pydantic.field_validator("kept")
    @classmethod
    def _in_order(cls, kept: tuple[int, ...], info: pydantic.ValidationInfo) -> tuple[int, ...]:
        size = info.data.get("size", 0)
        if list(kept) != sorted(set(kept)) or max(kept) >= size:
            raise ValueError(f"expected ascending indices from 0 to {size - 1}")
        return kept


class _Factored(pydantic.BaseModel):
    model_config = _STRICT
    module: str
    rank: Annotated[pydantic.StrictInt, pydantic.Field(ge=1)]


class _Plan(pydantic.BaseModel):
    model_config = _STRICT
    cuts: tuple[_Cut, ...]
    attributes: tuple[_Edit, ...]
    rescales: tuple[_Rescale, ...]
    shifts: tuple[_Shift, ...]
    merges: tuple[_Merge, ...] = ()
    gains: tuple[_Gain, ...] = ()
    removed: tuple[_Removal, ...] = ()
    shortened: tuple[_Shortened, ...] = ()
    factored: tuple[_Factored, ...] = ()
    aliases: dict[str, tuple[str, ...]]
    shapes: dict[str, tuple[_Index, ...]] = {}


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """Returns a plan as what JSON holds; a tensor of one name only needs no entry among the aliases, and a plan that
    removes no module, shortens no list, factors no layer, or has no shapes, has no entry for that: older releases read
    it.

    Raises:
        SavedModelError: If an attribute has a value that JSON and this format do not know.

    Examples:
        >>> edit = AttributeEdit("norm", "normalized_shape", (8,), (4,))
        >>> plan_to_dict(Plan(attributes=(edit,)))["attributes"][0]["after"]
        {'tuple': [4]}
        >>> plan_from_dict(plan_to_dict(Plan(attributes=(edit,)))).attributes[0].after
        (4,)
    """
    removed = {"removed": [asdict(removal) for removal in plan.removed]} if plan.removed else {}
    lists = [asdict(one) | {"kept": list(one.kept)} for one in plan.shortened]
    return {
        **removed,
        **({"shortened": lists} if lists else {}),
        **({"factored": [asdict(one) for one in plan.factored]} if plan.factored else {}),
        "cuts": [asdict(cut) | {"kept": list(cut.kept)} for cut in plan.cuts],
        "attributes": [
            {
                "module": edit.module,
                "attribute": edit.attribute,
                "before": _encoded(edit.before, edit),
                "after": _encoded(edit.after, edit),
            }
            for edit in plan.attributes
        ],
        "rescales": [asdict(rescale) | {"rows": list(rescale.rows)} for rescale in plan.rescales],
        "shifts": [asdict(shift) | {"values": list(shift.values)} for shift in plan.shifts],
        "merges": [
            asdict(merge) | {"sources": list(merge.sources), "factors": list(merge.factors)} for merge in plan.merges
        ],
        "gains": [asdict(gain) for gain in plan.gains],
        "aliases": {name: list(names) for name, names in plan.aliases.items() if list(names) != [name]},
        **({"shapes": {name: list(shape) for name, shape in plan.shapes.items()}} if plan.shapes else {}),
    }


def plan_from_dict(data: Mapping[str, Any]) -> Plan:
    """Returns the plan that :func:`plan_to_dict` made ``data`` of.

    Raises:
        SavedModelError: If ``data`` is no such plan; the message names the place.
    """
    try:
        read = _Plan.model_validate(data)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise SavedModelError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return Plan(
        cuts=tuple(Cut(cut.tensor, cut.dim, cut.width, cut.kept) for cut in read.cuts),
        attributes=tuple(
            AttributeEdit(edit.module, edit.attribute, _decoded(edit.before, edit), _decoded(edit.after, edit))
            for edit in read.attributes
        ),
        rescales=tuple(Rescale(rescale.tensor, rescale.rows, rescale.factor) for rescale in read.rescales),
        shifts=tuple(Shift(shift.tensor, shift.values) for shift in read.shifts),
        merges=tuple(Merge(one.tensor, one.dim, one.into, one.sources, one.factors) for one in read.merges),
        gains=tuple(Gain(gain.tensor, gain.of, gain.dim) for gain in read.gains),
        removed=tuple(Removal(one.module, one.gives, one.entries) for one in read.removed),
        shortened=tuple(Shortened(one.list, one.size, one.kept) for one in read.shortened),
        factored=tuple(Factored(one.module, one.rank) for one in read.factored),
        aliases=read.aliases,
        shapes=read.shapes,
    )


def _encoded(value: Any, edit: AttributeEdit) -> Any:
    """``value`` as JSON: a tuple is an object with its kind as the key, everything else stands for itself."""
    for kind, container in _TUPLES.items():
        if type(value) is container:
            return {kind: [_encoded(item, edit) for item in value]}
    if type(value) is list:
        return [_encoded(item, edit) for item in value]
    if value is None or type(value) in {bool, int, float, str}:
        return value
    raise SavedModelError(
        f"attribute {edit.attribute} of {edit.module or 'the model'} is a {type(value).__name__}; "
        "expected a number, a text, or a list or tuple of them"
    )


def _decoded(value: Any, edit: _Edit) -> Any:
    if isinstance(value, list):
        return [_decoded(item, edit) for item in value]
    if not isinstance(value, dict):
        return value
    kind, items = next(iter(value.items()), ("", None))
    if len(value) != 1 or kind not in _TUPLES or not isinstance(items, list):
        raise SavedModelError(f"attribute {edit.attribute} of {edit.module}: {value!r}; expected a number or a tuple")
    try:
        return _TUPLES[kind]([_decoded(item, edit) for item in items])
    except TypeError as error:
        raise SavedModelError(f"attribute {edit.attribute} of {edit.module}: {value!r}: {error}") from error
