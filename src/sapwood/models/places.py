"""Where a number stands in a module: an attribute, or one element of a list or tuple attribute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from sapwood.models.plan import AttributeEdit


@dataclass(frozen=True, order=True)
class Place:
    """An attribute of a module, or an element of it.

    Attributes:
        module: Name of the module.
        attribute: Name of the attribute.
        position: Which element, or -1 for the attribute itself.
    """

    module: str
    attribute: str
    position: int = -1

    @staticmethod
    def of(edit: AttributeEdit) -> Place:
        """The place that an edit names."""
        attribute, bracket, rest = edit.attribute.partition("[")
        return Place(edit.module, attribute, int(rest[:-1]) if bracket else -1)

    @property
    def text(self) -> str:
        """As an edit names it: ``"sizes[1]"``."""
        return self.attribute if self.position < 0 else f"{self.attribute}[{self.position}]"

    def get(self, model: nn.Module) -> Any:
        """The value there."""
        value = getattr(model.get_submodule(self.module), self.attribute)
        return value if self.position < 0 else value[self.position]

    def set(self, model: nn.Module, new: Any) -> None:
        """Puts ``new`` there; a list or tuple is replaced by a changed copy."""
        module = model.get_submodule(self.module)
        if self.position < 0:
            setattr(module, self.attribute, new)
            return
        whole = getattr(module, self.attribute)
        items = list(whole)
        items[self.position] = new
        setattr(module, self.attribute, type(whole)(items))


def integers(name: str, module: nn.Module) -> Iterator[tuple[Place, int]]:
    """Every integer attribute of a module, lists and tuples of integers included."""
    for attribute, value in vars(module).items():
        if attribute.startswith("_") or attribute == "training":
            continue
        if type(value) is int:
            yield Place(name, attribute), value
        elif type(value) in {list, tuple}:
            for position, item in enumerate(value):
                if type(item) is int:
                    yield Place(name, attribute, position), item
