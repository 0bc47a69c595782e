"""How a command's help shows its options: a flag takes no value, and so none stands beside it."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Verb(TyperCommand):
    """A verb."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, as Click asks for them; ``--help`` is among them."""
        return [without_value(one) for one in super().get_params(ctx)]


class Verbs(TyperGroup):
    """The command that the verbs are of."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options before a verb."""
        return [without_value(one) for one in super().get_params(ctx)]


def without_value(option: Any) -> Any:
    """Returns an option; of a flag, no type is shown from now on."""
    if getattr(option, "is_flag", False) and option.metavar is None:
        option.metavar = ""
    return option
