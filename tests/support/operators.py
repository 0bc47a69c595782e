"""Every way to call an operator that has a rule, inside a tiny model.

A call is made from the operator's schema: what an argument gets is looked up by its name, in the case, in the table of
the operator, in that of its family (the function that is its rule), then in what any argument of that name gets. A new
operator of a family whose arguments have names that are known needs no line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor

from sapwood.ops import RULES
from sapwood.ops.facts import FACTS
from support.families import ANYWHERE, FAMILIES, Arguments, Family
from support.scenes import SHAPES, Number, Scene, below_one, made, positive, read

assert torchvision.__version__, "registers its operators"


def family_of(name: str) -> str:
    """The family of an operator, as :data:`FAMILIES` names it."""
    found = RULES[name]
    return f"{found.__module__.rpartition('.')[2]}.{found.__qualname__.partition('.')[0]}"


def _pooling(rank: int) -> Arguments:
    return {"kernel_size": [2] * rank, "output_size": [2] * rank}


KEYS = ("CPU", "CompositeImplicitAutograd", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")


def overloads(name: str) -> list[torch._ops.OpOverload]:
    """The forms of an operator that can be called here on tensors: none where PyTorch has them for other devices."""
    library, _, plain = name.partition(".")
    packet = getattr(getattr(torch.ops, library), plain, None)
    forms = [] if packet is None else [getattr(packet, form) for form in packet.overloads()]
    return [form for form in forms if _callable(form)]


def _callable(form: torch._ops.OpOverload) -> bool:
    full, types = form.name(), [str(argument.type) for argument in form._schema.arguments]
    tensors = any("Tensor" in kind for kind in [*types, *(str(result.type) for result in form._schema.returns)])
    named = any("Dimname" in kind or kind == "Generator" for kind in types) or "generator" in form._overloadname
    named = named or any(argument.name == "names" for argument in form._schema.arguments)  # Dimname[]? says List[str]
    outs = any(argument.is_out for argument in form._schema.arguments)
    if not tensors or named or outs or "hacked_twin" in full or not torch._C._dispatch_has_kernel(full):
        return False
    return any(torch._C._dispatch_has_kernel_for_dispatch_key(full, key) for key in KEYS)


class NoWayToCallError(Exception):
    """Says what is missing to call an operator."""


@dataclass(frozen=True)
class Example:
    """One way to call an operator inside a model."""

    name: str
    form: torch._ops.OpOverload
    arguments: Arguments
    goes: bool
    family: Family

    def __deepcopy__(self, _: Any) -> Example:
        """Itself: copies of a model that calls it need no copies of the tables."""
        return self

    def scene(self) -> tuple[Scene, Tensor]:
        """The model, in float64, and its input."""
        plain = self.name.removeprefix("aten.")
        ranks = {1: "line", 2: "map", 3: "volume"}
        layout = self.family.layouts.get(plain, ranks.get(FACTS[self.name].windows, self.family.layout))
        scene, x = Scene(layout).double().eval(), torch.rand(SHAPES[layout], dtype=torch.float64) + 0.1
        scene.call = self.call
        scene.read = self.family.reads.get(plain, self.family.reads.get("", read))
        with torch.no_grad():
            scene(x)  # makes the parameters
        del scene.before[scene.most :]
        return scene, x

    def call(self, scene: Scene) -> Any:
        """Calls the operator on what the scene holds."""
        schema = self.form._schema.arguments
        given = {argument.name: self._given(scene, argument) for argument in schema if self._needed(argument)}
        last = max(
            (k for k, argument in enumerate(schema) if argument.name in given and not argument.kwarg_only), default=-1
        )
        positional = [given.pop(argument.name, argument.default_value) for argument in schema[: last + 1]]
        return self.form(*positional, **given)

    def _needed(self, argument: Any) -> bool:
        return argument.name in self.arguments or not argument.has_default_value()

    def _given(self, scene: Scene, argument: Any) -> Any:
        if argument.name not in self.arguments and argument.name not in ANYWHERE:
            raise NoWayToCallError(
                f"nothing is known to give {self.form} for its argument {argument.name!r} ({argument.type}): add it to "
                f"the family {family_of(self.name)!r} of tests/support/families.py, or to ANYWHERE"
            )
        value, kind = self.arguments.get(argument.name, ANYWHERE.get(argument.name)), str(argument.type)
        if "Tensor" in kind:
            return _tensor(scene, value)
        if value in (made, below_one, positive):
            return value is positive or 0.5
        value = value.value if isinstance(value, Number) else value(scene) if callable(value) else value
        if "List[int]" in kind and isinstance(value, int):
            return [value]
        return value[0] if kind == "int" and isinstance(value, list) else value


def _tensor(scene: Scene, value: Any) -> Any:
    if isinstance(value, Number):
        return torch.tensor(value.value)
    if value is None:
        return None
    return value(scene) if callable(value) else made(scene)


def _is_composite(form: Any) -> bool:
    """Whether an overload is made of others, and so called by none that a run records."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(form.name(), "CompositeImplicitAutograd")


def examples(name: str) -> list[Example]:
    """Every way in which an operator is called; composite forms only where there are no others.

    Raises:
        NoWayToCallError: If its rule is of no family that is known.
    """
    family = FAMILIES.get(family_of(name))
    if family is None:
        raise NoWayToCallError(
            f"{name} has the rule {family_of(name)!r}, and nobody knows how to call its operators: add a family of "
            "that name to FAMILIES in tests/support/families.py"
        )
    forms = overloads(name)
    plain = [form for form in forms if not _is_composite(form)] or forms
    shared = {**_pooling(FACTS[name].windows), **family.arguments, **family.own.get(name.removeprefix("aten."), {})}
    found = []
    for form in plain:
        seen = []
        of_form = family.own.get(f"{name.removeprefix('aten.')}.{form._overloadname}", {})
        for arguments, goes in family.own_cases.get(name.removeprefix("aten."), family.cases):
            mine = {argument.name for argument in form._schema.arguments} & set(arguments)
            if mine in seen and not mine:
                continue  # a form without the arguments in which cases differ is called once
            seen.append(mine)
            goes_here = goes if mine or not arguments else family.goes.get(name.removeprefix("aten."), True)
            found.append(
                Example(name, form, {**shared, **{k: arguments[k] for k in mine}, **of_form}, goes_here, family)
            )
    return found
