"""How the command line shows its options, and what it says of words that it does not know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from typer.core import TyperCommand, TyperGroup

from sapwood.meant import OTHER_FIELDS, letters, meant_name

OTHER_VERBS: Mapping[str, str] = {
    "benchmark": "bench", "convert": "export", "evaluate": "eval", "finetune": "train", "fit": "train",
    "help": "--help", "infer": "detect", "info": "inspect", "predict": "detect", "profile": "inspect",
    "quantise": "export", "quantize": "export", "sparsify": "mask", "summary": "inspect", "test": "eval", "val": "eval",
    "validate": "eval", "version": "--version",
}  # fmt: skip
"""What other programs call a verb: its name here."""

OTHER_OPTIONS: Mapping[str, str] = {word: "--" + name.replace("_", "-") for word, name in OTHER_FIELDS.items()}

_NOT_ONE_OF = re.compile(r"(?:Value error, )?'(?P<given>.*?)' is not one of (?P<known>'.*')\.?$", re.DOTALL)

_BOUNDS = {"greater_than_equal": "at least {ge:g}", "less_than_equal": "at most {le:g}"}
_KINDS = {"int": "a whole number", "float": "a number"}
"""What was expected, by how the type of pydantic's error begins."""


class Verb(TyperCommand):
    """A verb."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, as Click asks for them; ``--help`` is among them."""
        return [without_value(one) for one in super().get_params(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the options; what is wrong with one is said with what was probably meant."""
        with _meant([flag for one in self.params for flag in one.opts]):
            return super().parse_args(ctx, args)


class Verbs(TyperGroup):
    """The command that the verbs are of."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options before a verb."""
        return [without_value(one) for one in super().get_params(ctx)]

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Finds the verb; where there is none, what was probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = ", ".join(self.commands)
            ctx.fail(
                f"No such command {name!r}; expected one of: {known}{meant_name(name, self.commands, OTHER_VERBS)}"
            )
        return super().resolve_command(ctx, args)


def without_value(option: Any) -> Any:
    """Returns an option; of a flag, no type is shown from now on."""
    if getattr(option, "is_flag", False) and option.metavar is None:
        option.metavar = ""
    return option


@contextmanager
def _meant(flags: list[str]) -> Iterator[None]:
    """Adds to a usage error what was probably meant; which class that is differs among releases of typer."""
    try:
        yield
    except Exception as error:
        _explain(error, flags)
        raise


def _explain(error: Any, flags: list[str]) -> None:
    """Says in an error about options what was meant; all other errors stay as they are."""
    if isinstance(getattr(error, "message", None), str):
        error.message = _with_value(error.message, error.__cause__)
        error.message = _with_choice(error.message)
    if "unexpected extra argument" in str(getattr(error, "message", "")):
        error.message += "; expected one MODEL, and all else behind the option that it is of"
    if hasattr(error, "possibilities"):  # an option that is not there, with those that are spelled like it
        flag = OTHER_OPTIONS.get(letters(error.option_name))
        error.possibilities = [flag] if flag in flags else error.possibilities


def _with_value(message: str, cause: Any) -> str:
    """A message about a value of another kind, or out of its range, with the value itself; of pydantic's, it lacks."""
    if not callable(getattr(cause, "errors", None)):
        return message
    fault = cause.errors()[0]
    bound, kind = _BOUNDS.get(fault["type"]), _KINDS.get(fault["type"].partition("_")[0])
    expected = kind if bound is None else bound.format_map(fault["ctx"])
    return message if expected is None else f"{fault['input']}; expected {expected}"


def _with_choice(message: str) -> str:
    """A message about a value that is none of a few, as all others of the kind are."""
    found = _NOT_ONE_OF.match(message)
    if found is None:
        return message
    known = re.findall(r"'([^']*)'", found["known"])
    return f"{found['given']!r}; expected one of: {', '.join(known)}{meant_name(found['given'], known)}"
